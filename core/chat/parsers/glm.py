"""GLM 4.5 and later, and others: `<tool_call>name<arg_key>a</arg_key><arg_value>...</arg_value></tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import join_choices, list_arguments, repeat_rule, write_text
from core.chat.parsers.named_calls import read_tool_name
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.tagged_calls import UNTAGGED
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

_KEY_ENDS: Final = MarkSet(("</arg_key>", "\n"))
_VALUE_ENDS: Final = MarkSet(("</arg_value>",))


class GlmCalls(CallSyntax):
    """Values are texts until the tool's schema says more; what is a text for certain is handed out as it grows."""

    begins = ("<tool_call>",)
    ends = ("</tool_call>",)
    marks = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")

    def __init__(self, *, lines: bool) -> None:
        """`lines`: whether each tag begins a line."""
        self._gap = "\n" if lines else ""

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        members = MemberWriter(unread, (yield from read_tool_name(unread)), typed=False)
        while True:
            yield from unread.skip_blanks()
            found = yield from unread.literal("<arg_key>", "</tool_call>")
            if found is None:
                raise CallCut() if (yield from unread.at_end()) else NotACall(UNTAGGED)
            if found == "</tool_call>":
                break
            key, _ = yield from unread.text_until(_KEY_ENDS)
            yield from unread.skip_blanks()
            if (yield from unread.literal("<arg_value>")) is None:
                raise CallCut() if (yield from unread.at_end()) else NotACall(UNTAGGED)
            yield from _read_member(unread, members, key.strip())
        members.end()

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        rules: list[str] = []
        for number, tool in enumerate(tools):
            parts = [terms.mark(f"<tool_call>{tool.name}{self._gap}")]
            for index, each in enumerate(list_arguments(tool)):
                rule = f"argument_{number}_{index}"
                begin = terms.mark(f"<arg_key>{each.name}</arg_key>{self._gap}<arg_value>")
                end = f"</arg_value>{self._gap}"
                choices = join_choices(map(write_text, each.choices))
                value = f"({choices})" if choices else terms.value(tool, each.schema) if not each.is_text else ""
                rules.append(
                    f"{rule}: {begin} {f'{value} {terms.mark(end)}' if value else terms.until(end, each.pattern)}"
                )
                parts.append(rule if each.required else f"{rule}?")
            rules.append(f"call_{number}: {' '.join(parts)} {terms.mark('</tool_call>')}")
        more = repeat_rule("call", self._gap, terms, several=several)
        choices = join_choices(f"call_{number}" for number in range(len(tools)))
        return "\n".join((f"calls: call{more}", f"call: {choices}", *rules, ""))


def _read_member(unread: UnreadText, members: MemberWriter, name: str) -> Reading[None]:
    if members.is_text(name):
        members.begin_text(name)
        ended = yield from unread.write_until(_VALUE_ENDS, members.add_text)
        if ended:
            members.end_text()
    else:
        value, ended = yield from unread.text_until(_VALUE_ENDS)
        members.add(name, value)
    if not ended:
        raise CallCut


GLM_LINES, GLM_DENSE = GlmCalls(lines=True), GlmCalls(lines=False)
