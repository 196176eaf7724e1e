"""MiniMax: M2 has all calls within `<minimax:tool_call>`, M1 a line of JSON each within `<tool_calls>`.

M3 has a tag for each member of the arguments, and a mark of its own before each tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import (
    CallTags,
    ToolArgument,
    WrittenJson,
    join_choices,
    list_arguments,
    list_members,
    write_text,
)
from core.chat.parsers.json_calls import JsonCalls
from core.chat.parsers.json_text import DEEPEST_LEVELS, NAMELESS, TOO_DEEP
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.tagged_calls import UNTAGGED, TaggedCalls
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

MINIMAX_LINES: Final = JsonCalls(
    WrittenJson("", "\n", between="", frame="<tool_calls>\n", frame_end="</tool_calls>"),
    ("<tool_calls>",),
    ("</tool_calls>",),
)
MINIMAX: Final = TaggedCalls(
    CallTags(
        '<invoke name="',
        "</invoke>",
        '<parameter name="',
        "</parameter>",
        name_end='">',
        frame="<minimax:tool_call>",
        frame_end="</minimax:tool_call>",
    ),
    within_frame=True,
)
TREE_MARK: Final = "]<]minimax[>["
_FRAME, _FRAME_END = f"{TREE_MARK}<tool_call>", f"{TREE_MARK}</tool_call>"
_INVOKE: Final = f'{TREE_MARK}<invoke name="'
_ITEM: Final = "item"
"""The tag of a list's members."""
_BARE_TYPES: Final = frozenset({"integer", "number", "boolean", "null"})
_TREE_MARKS, _NAME_ENDS, _TAG_ENDS = MarkSet((TREE_MARK,)), MarkSet(('">', "\n", "<")), MarkSet((">", "\n", "<"))


class TreeCalls(CallSyntax):
    """Each object is a tag for each of its members, each list one for each of its items; all else is text."""

    begins = (_FRAME,)
    ends = (f"{TREE_MARK}</invoke>", _FRAME_END)
    marks = (_FRAME, TREE_MARK, "<tool_call>", "</tool_call>")

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        begun = False
        while True:
            yield from unread.skip_blanks()
            if (yield from unread.literal(_INVOKE)) is None:
                break
            begun = True
            name, end = yield from unread.text_until(_NAME_ENDS)
            if end != '">' or not name.strip():
                raise NotACall(NAMELESS)
            arguments = MemberWriter(unread, name.strip(), typed=False)
            while (tag := (yield from _read_tag(unread))) is not None:
                yield from _read_member(unread, arguments, tag)
            arguments.end()
        if not begun:
            raise NotACall(UNTAGGED)
        yield from unread.closing(_FRAME_END)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        rules: list[str] = []
        for number, tool in enumerate(tools):
            arguments = _write_members(tool, list_arguments(tool), terms, f"call_{number}", rules, 0)
            begin, end = terms.mark(f'{_INVOKE}{tool.name}">'), terms.mark(f"{TREE_MARK}</invoke>\n")
            rules.append(f"call_{number}: {begin} {arguments} {end}")
        choices = join_choices(f"call_{number}" for number in range(len(tools)))
        begin, end = terms.mark(f"{_FRAME}\n"), terms.mark(_FRAME_END)
        return "\n".join((f"calls: {begin} call{' call*' if several else ''} {end}", f"call: {choices}", *rules, ""))


_Value = str | list[tuple[str, "_Value"]]
"""A text, or the members with their tags."""


def _read_tag(unread: UnreadText) -> Reading[str | None]:
    """The name of the member that a call goes on with; None where it ends."""
    text, mark = yield from unread.text_until(_TREE_MARKS)
    if not mark:
        raise CallCut
    if text.strip():
        raise NotACall(UNTAGGED)
    if (yield from unread.literal("</invoke>")) is not None:
        return None
    return (yield from _open_tag(unread))


def _open_tag(unread: UnreadText) -> Reading[str]:
    if (yield from unread.literal("<")) is None:
        raise CallCut() if (yield from unread.at_end()) else NotACall(UNTAGGED)
    name, end = yield from unread.text_until(_TAG_ENDS)
    if end != ">" or not name:
        raise NotACall(UNTAGGED) if end else CallCut()
    return name


def _read_member(unread: UnreadText, arguments: MemberWriter, tag: str) -> Reading[None]:
    if not arguments.is_text(tag):
        arguments.add(tag, _build_value((yield from _read_value(unread, tag, 1))))
        return
    arguments.begin_text(tag)
    if not (yield from unread.write_until(_TREE_MARKS, arguments.add_text)):
        raise CallCut
    if (yield from unread.literal(f"</{tag}>")) is None:
        raise CallCut() if (yield from unread.at_end()) else NotACall(UNTAGGED)
    arguments.end_text()


def _read_value(unread: UnreadText, tag: str, level: int) -> Reading[_Value]:
    """What stands up to the end of `tag`, and the end."""
    if level > DEEPEST_LEVELS:
        raise NotACall(TOO_DEEP)
    members: list[tuple[str, _Value]] = []
    while True:
        text, mark = yield from unread.text_until(_TREE_MARKS)
        if not mark:
            raise CallCut
        closed = (yield from unread.literal(f"</{tag}>")) is not None
        if closed and not members:
            return text
        if text.strip():
            raise NotACall(UNTAGGED)
        if closed:
            return members
        name = yield from _open_tag(unread)
        members.append((name, (yield from _read_value(unread, name, level + 1))))


def _build_value(value: _Value) -> Any:
    if isinstance(value, str):
        return value
    if all(name == _ITEM for name, _ in value):
        return [_build_value(each) for _, each in value]
    return {name: _build_value(each) for name, each in value}


def _write_members(
    tool: Tool, members: Sequence[ToolArgument], terms: GrammarTerms, name: str, rules: list[str], level: int
) -> str:
    """A term for the members of an object; its rules are added."""
    told: list[str] = []
    for number, each in enumerate(members):
        rule = f"{name}_{number}"
        begin = terms.mark(f"{TREE_MARK}<{each.name}>")
        rules.append(f"{rule}: {begin} {_write_value(tool, each, terms, rule, rules, level)}")
        told.append(rule if each.required else f"{rule}?")
    return " ".join(told)


def _write_value(tool: Tool, member: ToolArgument, terms: GrammarTerms, name: str, rules: list[str], level: int) -> str:
    """A term for a value and the end of its tag. What cannot be told by the schema is any text."""
    end = f"{TREE_MARK}</{member.name}>"
    schema = member.schema if isinstance(member.schema, Mapping) else {}
    kind = schema.get("type")
    if member.choices:
        return f"({join_choices(map(write_text, member.choices))}) {terms.mark(end)}"
    if isinstance(kind, str) and kind in _BARE_TYPES:
        return f"{terms.value(tool, schema)} {terms.mark(end)}"
    if kind == "object" and level < DEEPEST_LEVELS and (inner := list_members(schema)):
        return f"{_write_members(tool, inner, terms, name, rules, level + 1)} {terms.mark(end)}"
    if kind == "array" and level < DEEPEST_LEVELS and isinstance(schema.get("items"), Mapping):
        item = ToolArgument(_ITEM, schema["items"], required=True)
        told = _write_value(tool, item, terms, f"{name}_item", rules, level + 1)
        rules.append(f"{name}_item: {terms.mark(f'{TREE_MARK}<{_ITEM}>')} {told}")
        return f"{name}_item* {terms.mark(end)}"
    return terms.until(end, member.pattern if kind == "string" else "")


MINIMAX_TREES: Final = TreeCalls()
