"""GLM 4.5 and later, and others: `<tool_call>name<arg_key>a</arg_key><arg_value>...</arg_value></tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import join_choices, list_arguments, repeat_rule, write_text
from core.chat.parsers.named_calls import read_tool_name
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.tagged_calls import UNTAGGED
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool


class KeyTags(Struct, frozen=True):
    """What stands around calls, names of arguments, and their values."""

    call: str = "<tool_call>"
    call_end: str = "</tool_call>"
    key: str = "<arg_key>"
    key_end: str = "</arg_key>"
    value: str = "<arg_value>"
    value_end: str = "</arg_value>"
    separator: str = ""
    """Behind the tool's name."""
    frame: str = ""
    """Before all calls."""
    frame_end: str = ""
    gap: str = ""
    """Between tags, as models write it."""


class GlmCalls(CallSyntax):
    """Values are texts until the tool's schema says more; what is a text for certain is handed out as it grows."""

    def __init__(self, tags: KeyTags) -> None:
        self._tags = tags
        self.begins = tuple(filter(None, (tags.frame, tags.call)))
        self.ends = tuple(filter(None, (tags.call_end, tags.frame_end)))
        self.marks = (*self.begins, *self.ends, tags.key, tags.key_end, tags.value, tags.value_end)
        if tags.separator:
            self.marks = (*self.marks, tags.separator)
        self._key_ends, self._value_ends = MarkSet((tags.key_end, "\n")), MarkSet((tags.value_end,))

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        if mark == self._tags.call:
            yield from self._read_call(unread)
            return
        begun = False
        yield from unread.skip_blanks()
        while (yield from unread.literal(self._tags.call)) is not None:
            begun = True
            yield from self._read_call(unread)
            yield from unread.skip_blanks()
            unread.drop()
        if not begun:
            raise CallCut if (yield from unread.at_end()) else NotACall(UNTAGGED)
        yield from unread.closing(self._tags.frame_end)

    def _read_call(self, unread: UnreadText) -> Reading[None]:
        tags = self._tags
        members = MemberWriter(unread, (yield from read_tool_name(unread)), typed=False)
        if tags.separator:
            yield from unread.skip_blanks()
            yield from unread.literal(tags.separator)
        while True:
            yield from unread.skip_blanks()
            found = yield from unread.literal(tags.key, tags.call_end)
            if found is None:
                raise CallCut if (yield from unread.at_end()) else NotACall(UNTAGGED)
            if found == tags.call_end:
                break
            key, _ = yield from unread.text_until(self._key_ends)
            yield from unread.skip_blanks()
            if (yield from unread.literal(tags.value)) is None:
                raise CallCut if (yield from unread.at_end()) else NotACall(UNTAGGED)
            yield from self._read_member(unread, members, key.strip())
        members.end()

    def _read_member(self, unread: UnreadText, members: MemberWriter, name: str) -> Reading[None]:
        if members.is_text(name):
            members.begin_text(name)
            ended = yield from unread.write_until(self._value_ends, members.add_text)
            if ended:
                members.end_text()
        else:
            value, ended = yield from unread.text_until(self._value_ends)
            members.add(name, value)
        if not ended:
            raise CallCut

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        tags, gap = self._tags, self._tags.gap
        rules: list[str] = []
        behind = gap if tags.frame else ""
        for number, tool in enumerate(tools):
            parts = [terms.mark(f"{tags.call}{tool.name}{tags.separator}{gap}")]
            for index, each in enumerate(list_arguments(tool)):
                rule = f"argument_{number}_{index}"
                begin = terms.mark(f"{tags.key}{each.name}{tags.key_end}{gap}{tags.value}")
                end = f"{tags.value_end}{gap}"
                choices = join_choices(map(write_text, each.choices))
                value = f"({choices})" if choices else terms.value(tool, each.schema) if not each.is_text else ""
                told = f"{value} {terms.mark(end)}" if value else terms.until(end, each.pattern)
                rules.append(f"{rule}: {begin} {told}")
                parts.append(rule if each.required else f"{rule}?")
            rules.append(f"call_{number}: {' '.join(parts)} {terms.mark(tags.call_end + behind)}")
        choices = join_choices(f"call_{number}" for number in range(len(tools)))
        if tags.frame:
            more = " call*" if several else ""
            head = f"calls: {terms.mark(tags.frame + gap)} call{more} {terms.mark(tags.frame_end)}"
        else:
            head = f"calls: call{repeat_rule('call', gap, terms, several=several)}"
        return "\n".join((head, f"call: {choices}", *rules, ""))


GLM_LINES: Final = GlmCalls(KeyTags(gap="\n"))
GLM_DENSE: Final = GlmCalls(KeyTags())
