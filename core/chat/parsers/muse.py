"""Muse Glimmer: messages to recipients; those to a tool hold a call in tags of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import CallOpening, GrammarTerms, ThoughtMarks, read_calls
from core.chat.parsers.grammar import CallTags
from core.chat.parsers.harmony import HarmonyFamily
from core.chat.parsers.tagged_calls import TaggedCalls
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

START, MESSAGE = "<|start|>", "<|message|>"
ENDS: Final = ("<|eom|>", "<|eot|>")
SIGNS: Final = ("<atem:function_calls>", "<|eom|>")
THOUGHT: Final = ThoughtMarks(f" to=self{MESSAGE}", "<|eom|>", turn=f"{START}assistant", lead=f" to=user{MESSAGE}")
_FRAME: Final = "<atem:function_calls>"
_HEAD_ENDS: Final = MarkSet((MESSAGE, *ENDS, START))
_BODY_ENDS: Final = MarkSet((*ENDS, START))


class MuseCalls(TaggedCalls):
    """One call in a message to its tool."""

    openings = (CallOpening(r" to=(?!self<|user<)(?P<name>[^\s<]{1,256})<\|message\|>", f" to=NAME{MESSAGE}"),)

    def __init__(self) -> None:
        super().__init__(
            CallTags(
                '<atem:invoke name="',
                "</atem:invoke>",
                '<atem:parameter name="',
                "</atem:parameter>",
                name_end='">',
                frame=_FRAME,
                frame_end="</atem:function_calls>",
            ),
            within_frame=True,
        )
        # Markup that an answer quotes is no call.
        self.begins, self.turns = (), (*ENDS, START)
        self.marks = (*self.marks, MESSAGE, START, *ENDS)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        written = super().write_grammar(tools, terms, several=False)
        head = f"calls: {terms.mark(' to=')} /[A-Za-z0-9_.:\\-]+/ {terms.mark(MESSAGE)} framed\n"
        return f"{head}framed:{written.removeprefix('calls:')}"


class RecipientsFamily(HarmonyFamily, frozen=True):
    """Messages as gpt-oss has them, without channels: what is to the model itself is thought, what is to a tool is a
    call, and all else is words."""

    body_ends: MarkSet = _BODY_ENDS

    def _read_message(self, unread: UnreadText, *, calls: bool) -> Reading[None]:
        assert self.calls is not None
        yield from unread.literal(f"{START}assistant", START)
        if (yield from unread.literal(" to=", "to=")) is None:
            unread.drop()
            yield from self._read_words(unread)
            return
        recipient, mark = yield from unread.text_until(_HEAD_ENDS)
        if mark != MESSAGE:
            unread.reject("")
        elif recipient == "self":
            yield from self._read_thought(unread)
        elif recipient != "user" and calls:
            yield from unread.skip_blanks()
            yield from unread.literal(_FRAME)
            yield from read_calls(self.calls, _FRAME, unread)
            yield from self._read_words(unread)
        else:
            unread.drop()
            yield from self._read_words(unread)


MUSE: Final = MuseCalls()
