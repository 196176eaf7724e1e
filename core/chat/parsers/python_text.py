"""Calls and values as Python writes them, read letter by letter: a model's text is never handed to an interpreter."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from core.chat.parsers.json_text import DEEPEST_LEVELS, NAMELESS
from core.chat.parsers.named_calls import read_tool_name
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText

PYTHON_UNREADABLE: Final = "A call is not written in Python that can be read."
LONGEST_WORD_CHARACTERS: Final = 400
WORDS: Final = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_WORD: Final = re.compile(r"[A-Za-z0-9_.+\-]*")
_QUOTES: Final = {quote: MarkSet((quote, "\\")) for quote in ('"""', "'''", '"', "'")}
_ESCAPES: Final = {
    **{letter: letter for letter in "\\'\""},
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "0": "\0",
    "\n": "",
}
_HEX_DIGITS: Final = {"x": 2, "u": 4, "U": 8}


def read_python_call(unread: UnreadText) -> Reading[None]:
    """Hands out a call whose arguments are given by name. Raises NotACall where none stands here."""
    name = yield from read_tool_name(unread)
    yield from unread.skip_blanks()
    if (yield from unread.literal("(")) is None:
        raise NotACall(NAMELESS)
    yield from read_python_arguments(unread, name)


def read_python_arguments(unread: UnreadText, name: str) -> Reading[None]:
    """The same from behind the opening bracket."""
    arguments = MemberWriter(unread, name, typed=True)
    while True:
        yield from unread.skip_blanks()
        if (yield from unread.literal(")")) is not None:
            break
        if (yield from unread.at_end()):
            raise CallCut
        key = yield from read_tool_name(unread)
        yield from unread.skip_blanks()
        if (yield from unread.literal("=")) is None:
            raise CallCut() if (yield from unread.at_end()) else NotACall(PYTHON_UNREADABLE)
        yield from unread.skip_blanks()
        quote = yield from unread.literal(*_QUOTES)
        if quote is None:
            arguments.add(key, (yield from read_python_value(unread, 0)))
        else:
            arguments.begin_text(key)
            yield from _write_python_string(unread, _QUOTES[quote], arguments.add_text)
            arguments.end_text()
        yield from require_comma(unread, ")")
    arguments.end()


def require_comma(unread: UnreadText, closing: str) -> Reading[None]:
    """Raises NotACall where neither a comma, which is read, nor `closing` stands here."""
    yield from unread.skip_blanks()
    letter = yield from unread.more(1)
    if letter == ",":
        unread.take(1)
    elif letter != closing:
        raise NotACall(PYTHON_UNREADABLE) if letter else CallCut()


def read_python_value(unread: UnreadText, level: int) -> Reading[Any]:
    """A literal. Raises NotACall where none stands here."""
    if level > DEEPEST_LEVELS:
        raise NotACall("A call's arguments are nested too deep.")
    yield from unread.skip_blanks()
    opening = yield from unread.literal(*_QUOTES, "[", "(", "{")
    if opening is None:
        return (yield from _read_word(unread))
    if opening in _QUOTES:
        return (yield from _read_python_string(unread, _QUOTES[opening]))
    if opening == "{":
        return (yield from _read_dict(unread, level))
    closing = "]" if opening == "[" else ")"
    items: list[Any] = []
    while True:
        yield from unread.skip_blanks()
        if (yield from unread.literal(closing)) is not None:
            return items
        items.append((yield from read_python_value(unread, level + 1)))
        yield from require_comma(unread, closing)


def _read_dict(unread: UnreadText, level: int) -> Reading[dict[str, Any]]:
    members: dict[str, Any] = {}
    while True:
        yield from unread.skip_blanks()
        if (yield from unread.literal("}")) is not None:
            return members
        key = yield from read_python_value(unread, level + 1)
        yield from unread.skip_blanks()
        if (yield from unread.literal(":")) is None or not isinstance(key, str):
            raise NotACall(PYTHON_UNREADABLE)
        members[key] = yield from read_python_value(unread, level + 1)
        yield from require_comma(unread, "}")


def _read_word(unread: UnreadText) -> Reading[Any]:
    word = yield from unread.take_while(_WORD, LONGEST_WORD_CHARACTERS)
    if word in WORDS:
        return WORDS[word]
    try:
        return msgspec.json.decode(word.removeprefix("+"), type=int | float)
    except msgspec.MsgspecError as error:
        raise NotACall(PYTHON_UNREADABLE) from error


def _read_python_string(unread: UnreadText, ends: MarkSet) -> Reading[str]:
    parts: list[str] = []
    yield from _write_python_string(unread, ends, parts.append)
    return "".join(parts)


def _write_python_string(unread: UnreadText, ends: MarkSet, write: Callable[[str], None]) -> Reading[None]:
    while True:
        mark = yield from unread.write_until(ends, write)
        if not mark:
            raise CallCut
        if mark != "\\":
            return
        write((yield from _read_escape(unread)))


def _read_escape(unread: UnreadText) -> Reading[str]:
    letter = yield from unread.more(1)
    if not letter:
        raise CallCut
    unread.take(1)
    if letter in _HEX_DIGITS:
        digits = yield from unread.more(_HEX_DIGITS[letter])
        unread.take(len(digits))
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError) as error:
            raise NotACall(PYTHON_UNREADABLE) from error
    return _ESCAPES.get(letter, f"\\{letter}")
