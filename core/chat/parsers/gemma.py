"""Google's Gemma 4: `<|tool_call>call:name{key:<|"|>text<|"|>,other:5}<tool_call|>`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from core.chat.parsers.family import CallSyntax, GrammarTerms, ThoughtMarks
from core.chat.parsers.grammar import join_choices, list_arguments, may_be_text, write_chain, write_text
from core.chat.parsers.json_text import DEEPEST_LEVELS, NAMELESS, TOO_DEEP, decode_text, read_string
from core.chat.parsers.named_calls import LONGEST_NAME_CHARACTERS, read_tool_name
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

THOUGHT: Final = ThoughtMarks("<|channel>thought", "<channel|>")
_BEGIN, _END, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_QUOTES: Final = MarkSet((_QUOTE,))
_KEY: Final = re.compile(r"[^:,{}\[\]<\"\s]*")
_BARE: Final = re.compile(r"[^,{}\[\]<]*")
UNGEMMA: Final = "A call's arguments are not written as they should be."
VALUES: Final = """
any: text | NUMBER | "true" | "false" | "null" | list | members
list: "[" (any ("," any)*)? "]"
members: "{" (KEY ":" any ("," KEY ":" any)*)? "}"
KEY: /[A-Za-z0-9_.\\-]+/
NUMBER: /-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?/
"""


class GemmaCalls(CallSyntax):
    """Texts stand between marks of their own, keys stand bare."""

    begins = (_BEGIN,)
    ends = (_END,)
    marks = (_BEGIN, _END, _QUOTE, "<|channel>", "<channel|>")

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        yield from unread.skip_blanks()
        if (yield from unread.literal("call:")) is None:
            raise NotACall(NAMELESS)
        name = yield from read_tool_name(unread)
        yield from unread.skip_blanks()
        if (yield from unread.literal("{")) is None:
            raise NotACall(UNGEMMA)
        arguments = MemberWriter(unread, name, typed=True)
        while (key := (yield from _read_key(unread))) is not None:
            yield from _read_argument(unread, arguments, key)
            yield from _end_member(unread, "}")
        arguments.end()
        yield from unread.skip_blanks()
        yield from unread.closing(_END)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        rules: list[str] = []
        for number, tool in enumerate(tools):
            pairs = [
                (f"{write_text(f'{each.name}:')} {_value_term(tool, each.schema, each.choices, terms)}", each.required)
                for each in list_arguments(tool)
            ]
            chain, first = write_chain(f"arguments_{number}", pairs, ",")
            rules += (
                f"call_{number}: {terms.mark(f'{_BEGIN}call:{tool.name}{{')} {first} {terms.mark('}' + _END)}",
                *chain,
            )
        choices = join_choices(f"call_{number}" for number in range(len(tools)))
        text = f"text: {terms.mark(_QUOTE)} {terms.until(_QUOTE)}"
        return "\n".join((f"calls: call{' call*' if several else ''}\ncall: {choices}", *rules, text, VALUES))


def _value_term(tool: Tool, schema: object, choices: Sequence[str], terms: GrammarTerms) -> str:
    if choices:
        quote = terms.mark(_QUOTE)
        return f"{quote} ({join_choices(map(write_text, choices))}) {quote}"
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind in ("integer", "number", "boolean", "null"):
        return terms.value(tool, schema)
    if may_be_text(schema) and kind == "string":
        return "text"
    return "list" if kind == "array" else "members" if kind == "object" else "any"


def _read_argument(unread: UnreadText, arguments: MemberWriter, key: str) -> Reading[None]:
    """A text is handed out as it grows."""
    yield from unread.skip_blanks()
    if (yield from unread.literal(_QUOTE)) is None:
        arguments.add(key, (yield from _read_value(unread, 1)))
        return
    arguments.begin_text(key)
    if not (yield from unread.write_until(_QUOTES, arguments.add_text)):
        raise CallCut
    arguments.end_text()


def _read_members(unread: UnreadText, level: int) -> Reading[dict[str, Any]]:
    members: dict[str, Any] = {}
    while (key := (yield from _read_key(unread))) is not None:
        members[key] = yield from _read_value(unread, level + 1)
        yield from _end_member(unread, "}")
    return members


def _read_key(unread: UnreadText) -> Reading[str | None]:
    """The name of the next member, whose colon is read as well; None at the end of them."""
    yield from unread.skip_blanks()
    if (yield from unread.literal("}")) is not None:
        return None
    if (yield from unread.literal(_QUOTE)) is not None:
        key, _ = yield from unread.text_until(_QUOTES)
    elif (yield from unread.more(1)) == '"':
        key = decode_text((yield from read_string(unread)))
    else:
        key = yield from unread.take_while(_KEY, LONGEST_NAME_CHARACTERS)
    yield from unread.skip_blanks()
    if (yield from unread.literal(":")) is None:
        raise CallCut() if (yield from unread.at_end()) else NotACall(UNGEMMA)
    return key


def _read_value(unread: UnreadText, level: int) -> Reading[Any]:
    if level > DEEPEST_LEVELS:
        raise NotACall(TOO_DEEP)
    yield from unread.skip_blanks()
    opening = yield from unread.literal(_QUOTE, "{", "[")
    if opening == "{":
        return (yield from _read_members(unread, level))
    if opening == "[":
        items: list[Any] = []
        while (yield from _goes_on(unread)):
            items.append((yield from _read_value(unread, level + 1)))
            yield from _end_member(unread, "]")
        return items
    if opening == _QUOTE:
        text, mark = yield from unread.text_until(_QUOTES)
        if not mark:
            raise CallCut
        return text
    return (yield from _read_bare(unread))


def _goes_on(unread: UnreadText) -> Reading[bool]:
    yield from unread.skip_blanks()
    return (yield from unread.literal("]")) is None


def _read_bare(unread: UnreadText) -> Reading[Any]:
    """A number or a word; a text where it is neither."""
    if (yield from unread.more(1)) == '"':
        written = yield from read_string(unread)
    else:
        written = yield from unread.take_while(_BARE, 1 << 16)
    try:
        return msgspec.json.decode(written.strip())
    except (msgspec.MsgspecError, UnicodeError):
        return written.strip()


def _end_member(unread: UnreadText, closing: str) -> Reading[None]:
    yield from unread.skip_blanks()
    letter = yield from unread.more(1)
    if letter == ",":
        unread.take(1)
    elif letter != closing:
        raise NotACall(UNGEMMA) if letter else CallCut()


GEMMA: Final = GemmaCalls()
