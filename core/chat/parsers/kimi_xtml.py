"""Kimi K3: tags of control tokens, `<|open|>call tool="f" index="1"<|sep|>`, with a type for each argument."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from core.chat.parsers.family import CallSyntax, GrammarTerms, ThoughtMarks
from core.chat.parsers.grammar import ToolArgument, join_choices, list_arguments, write_text
from core.chat.parsers.json_arguments import read_call_arguments
from core.chat.parsers.json_text import NAMELESS
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.tagged_calls import UNTAGGED
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

OPEN, CLOSE, SEPARATOR = "<|open|>", "<|close|>", "<|sep|>"
SIGNS: Final = (OPEN, CLOSE, "<|end_of_msg|>")
THOUGHT: Final = ThoughtMarks(f"{OPEN}think{SEPARATOR}", f"{CLOSE}think{SEPARATOR}")
FRAMES: Final = (
    f"{OPEN}response{SEPARATOR}",
    f"{CLOSE}response{SEPARATOR}",
    f"{CLOSE}message{SEPARATOR}",
    "<|end_of_msg|>",
)
_SECTION, _SECTION_END = f"{OPEN}tools{SEPARATOR}", f"{CLOSE}tools{SEPARATOR}"
_CALL, _CALL_END = f'{OPEN}call tool="', f"{CLOSE}call{SEPARATOR}"
_ARGUMENT, _ARGUMENT_END = f'{OPEN}argument key="', f"{CLOSE}argument{SEPARATOR}"
_TYPE, _JSON, _JSON_END = '" type="', f'{OPEN}json type="object"{SEPARATOR}', f"{CLOSE}json{SEPARATOR}"
_SEPARATORS, _QUOTES = MarkSet((SEPARATOR,)), MarkSet(('"', SEPARATOR))
_KEY_ENDS, _TYPE_ENDS = MarkSet((_TYPE, SEPARATOR)), MarkSet((f'"{SEPARATOR}',))
_VALUE_ENDS: Final = MarkSet((_ARGUMENT_END,))


class XtmlCalls(CallSyntax):
    """Reads calls one after the other; texts among their arguments are handed out as they grow."""

    begins = (_SECTION,)
    ends = (_CALL_END, _SECTION_END)
    marks = (OPEN, CLOSE, SEPARATOR)

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        begun = False
        yield from unread.skip_blanks()
        while (yield from unread.literal(_CALL)) is not None:
            begun = True
            yield from self._read_call(unread)
            yield from unread.skip_blanks()
            unread.drop()
        if not begun:
            raise CallCut if (yield from unread.at_end()) else NotACall(UNTAGGED)
        yield from unread.closing(_SECTION_END)

    def _read_call(self, unread: UnreadText) -> Reading[None]:
        name, quote = yield from unread.text_until(_QUOTES)
        if quote != '"' or not name.strip():
            raise NotACall(NAMELESS) if quote else CallCut
        yield from unread.text_until(_SEPARATORS)
        name = html.unescape(name)
        if (yield from unread.literal(_JSON)) is not None:
            yield from read_call_arguments(unread, name)
            yield from unread.literal(_JSON_END)
            yield from unread.closing(_CALL_END)
            return
        members = MemberWriter(unread, name, typed=True)
        while (yield from unread.literal(_ARGUMENT)) is not None:
            yield from self._read_argument(unread, members)
        if (yield from unread.literal(_CALL_END)) is None:
            raise CallCut if (yield from unread.at_end()) else NotACall(UNTAGGED)
        members.end()

    def _read_argument(self, unread: UnreadText, members: MemberWriter) -> Reading[None]:
        key, mark = yield from unread.text_until(_KEY_ENDS)
        if mark != _TYPE:
            raise NotACall(UNTAGGED) if mark else CallCut
        kind, _ = yield from unread.text_until(_TYPE_ENDS)
        key = html.unescape(key)
        if kind == "string":
            members.begin_text(key)
            ended = yield from unread.write_until(_VALUE_ENDS, members.add_text)
            if ended:
                members.end_text()
        else:
            value, ended = yield from unread.text_until(_VALUE_ENDS)
            members.add(key, _decode(value))
        if not ended:
            raise CallCut

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        rules: list[str] = []
        for number, tool in enumerate(tools):
            begin = terms.mark(f'{_CALL}{tool.name}" index="')
            parts = [f"{begin} /[0-9]+/ {terms.mark(f'{chr(34)}{SEPARATOR}')}"]
            for index, each in enumerate(list_arguments(tool)):
                rule = f"argument_{number}_{index}"
                rules.append(f"{rule}: {_write_argument(tool, each, terms)}")
                parts.append(rule if each.required else f"{rule}?")
            rules.append(f"call_{number}: {' '.join(parts)} {terms.mark(_CALL_END)}")
        choices = join_choices(f"call_{number}" for number in range(len(tools)))
        head = f"calls: {terms.mark(_SECTION)} call{' call*' if several else ''} {terms.mark(_SECTION_END)}"
        return "\n".join((head, f"call: {choices}", *rules, ""))


def _decode(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return value


def _write_argument(tool: Tool, argument: ToolArgument, terms: GrammarTerms) -> str:
    begin, end = f"{_ARGUMENT}{argument.name}{_TYPE}", _ARGUMENT_END
    if argument.is_text:
        return f"{terms.mark(f'{begin}string{chr(34)}{SEPARATOR}')} {terms.until(end, argument.pattern)}"
    if argument.choices:
        choices = join_choices(map(write_text, argument.choices))
        return f"{terms.mark(f'{begin}string{chr(34)}{SEPARATOR}')} ({choices}) {terms.mark(end)}"
    kind = f"{terms.mark(begin)} /(number|boolean|null|object|array)/ {terms.mark(chr(34) + SEPARATOR)}"
    return f"{kind} {terms.value(tool, argument.schema)} {terms.mark(end)}"


KIMI_XTML: Final = XtmlCalls()
