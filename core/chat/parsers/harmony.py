"""OpenAI's gpt-oss: messages in channels, some of them to tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import (
    CallOpening,
    CallSyntax,
    ChatFamily,
    GrammarTerms,
    ThinkingPhase,
    ThoughtMarks,
    read_calls,
)
from core.chat.parsers.grammar import join_choices
from core.chat.parsers.json_arguments import read_call_arguments
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
ENDS: Final = ("<|end|>", "<|return|>", "<|call|>")
THOUGHT: Final = ThoughtMarks(
    f"{CHANNEL}analysis{MESSAGE}", "<|end|>", turn=f"{START}assistant", lead=f"{CHANNEL}final{MESSAGE}"
)
LONGEST_HEAD_CHARACTERS: Final = 200
_HEADS: Final = (CHANNEL, START, " to=")
_HEAD_ENDS: Final = MarkSet((MESSAGE, *ENDS))
_BODY_ENDS: Final = MarkSet((*ENDS, START))
_RECIPIENT: Final = re.compile(r"to=([^\s<]+)")
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*([a-z]+)")
_NOBODY: Final = frozenset({"", "assistant", "user", "all"})


class HarmonyCalls(CallSyntax):
    """One message to a tool; its arguments are JSON."""

    ends = ENDS
    openings = (
        CallOpening(
            r"to=functions\.(?P<name>[^\s<]{1,256})[^<]{0,64}(?:<\|channel\|>[^<]{0,64})?(?:<\|constrain\|>[^<]{0,64})?"
            r"<\|message\|>",
            f"{CHANNEL}commentary to=functions.NAME {CONSTRAIN}json{MESSAGE}",
        ),
    )
    turns = (START,)
    marks = (START, CHANNEL, MESSAGE, CONSTRAIN, *ENDS)

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        """`mark`: the recipient."""
        yield from unread.skip_blanks()
        yield from read_call_arguments(unread, mark.removeprefix("functions."))
        yield from unread.skip_blanks()
        yield from unread.literal(*ENDS)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        told = [
            f"{terms.mark(f'{CHANNEL}commentary to=functions.{tool.name} {CONSTRAIN}json{MESSAGE}')} "
            f"{terms.arguments(tool)}"
            for tool in tools
        ]
        return f"calls: {join_choices(told)}\n"


class HarmonyFamily(ChatFamily, frozen=True):
    """What is in the channel `analysis` is thought, what is to a tool is a call, and all else is words."""

    body_ends: MarkSet = _BODY_ENDS
    """Where a message ends, by a mark or because the next one begins."""

    @property
    def always(self) -> bool:
        return True

    def find_phase(self, prompt: str) -> ThinkingPhase:
        inside = self.thought is not None and prompt.endswith(self.thought.begin)
        return ThinkingPhase.INSIDE if inside else ThinkingPhase.BEFORE

    def parse(self, unread: UnreadText, phase: ThinkingPhase, *, calls: bool) -> Reading[None]:
        if phase is ThinkingPhase.INSIDE:
            yield from self._read_thought(unread)
        while not (yield from unread.at_end()):
            yield from self._read_message(unread, calls=calls)
        unread.end()

    def _read_message(self, unread: UnreadText, *, calls: bool) -> Reading[None]:
        assert self.calls is not None
        if not (yield from self._has_head(unread)):
            yield from self._read_words(unread)
            return
        head, mark = yield from unread.text_until(_HEAD_ENDS)
        channels, recipient = _CHANNEL.findall(head), _RECIPIENT.search(head)
        to = recipient[1] if recipient is not None else ""
        if mark != MESSAGE and len(head) > LONGEST_HEAD_CHARACTERS:
            unread.reject("")
        elif mark != MESSAGE:
            unread.drop()
        elif to not in _NOBODY:
            if not calls:
                unread.reject("")
            else:
                yield from read_calls(self.calls, to, unread)
        elif channels and channels[-1] == "analysis":
            yield from self._read_thought(unread)
        else:
            unread.drop()
            yield from self._read_words(unread)

    def _has_head(self, unread: UnreadText) -> Reading[bool]:
        found = yield from unread.literal(*_HEADS)
        if found is not None:
            unread.put_back()
        return found is not None

    def _read_thought(self, unread: UnreadText) -> Reading[None]:
        unread.begin_thought()
        mark = yield from unread.think_until(self.body_ends)
        unread.end_thought()
        yield from _skip_turn(unread, mark)

    def _read_words(self, unread: UnreadText) -> Reading[None]:
        mark = yield from unread.say_until(self.body_ends)
        yield from _skip_turn(unread, mark)


def _skip_turn(unread: UnreadText, mark: str) -> Reading[None]:
    """Some turns begin without an end of the one before."""
    if mark == START:
        yield from unread.literal("assistant")
    if mark:
        unread.drop()


HARMONY: Final = HarmonyFamily("harmony", THOUGHT, HarmonyCalls())
