"""JSON amid a model's text: where a value ends."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import Reading, UnreadText

DEEPEST_LEVELS: Final = 100
"""Of lists and objects in one another."""
TOO_DEEP: Final = "A call's arguments are nested too deep."
UNREADABLE: Final = "A call is not written in JSON that can be read."
NAMELESS: Final = "A call names no tool."
LONGEST_SCALAR_CHARACTERS: Final = 400
SCALAR_RUN: Final = re.compile(r"[-+.0-9A-Za-z]*")
_FLAT: Final = re.compile(r"[ \t\r\n,:+\-.0-9A-Za-z]+")
_QUOTED: Final = re.compile(r'(?:[^"\\]|\\.)+', re.DOTALL)
_CLOSING: Final = {"{": "}", "[": "]"}


def read_json(unread: UnreadText) -> Reading[str]:
    """The text of the object or list that stands here. Brackets in its strings count for nothing.

    Raises NotACall where none stands here, CallCut where the text ends in its midst.
    """
    parts: list[str] = []
    open_: list[str] = []
    while True:
        letter = yield from unread.more(1)
        if not letter:
            raise CallCut
        if letter == '"' and open_:
            parts.append((yield from read_string(unread)))
        elif letter in _CLOSING:
            if len(open_) == DEEPEST_LEVELS:
                raise NotACall(TOO_DEEP)
            open_.append(_CLOSING[letter])
            parts.append(unread.take(1))
        elif open_ and letter == open_[-1]:
            open_.pop()
            parts.append(unread.take(1))
            if not open_:
                return "".join(parts)
        elif open_ and (run := unread.lexeme(_FLAT)):
            parts.append(run)
        else:
            raise NotACall(UNREADABLE)


def read_string(unread: UnreadText) -> Reading[str]:
    """The JSON of a string that stands here. Raises CallCut where it has no end."""
    parts = [unread.take(1)]
    while True:
        parts.append(unread.lexeme(_QUOTED))
        letter = yield from unread.more(1)
        if letter == '"':
            parts.append(unread.take(1))
            return "".join(parts)
        if letter == "\\" and len((yield from unread.more(2))) < 2:
            letter = ""
        if not letter:
            raise CallCut


def read_value(unread: UnreadText) -> Reading[str]:
    """The JSON of any value that stands here, or what stands in place of one."""
    letter = yield from unread.more(1)
    if letter == '"':
        return (yield from read_string(unread))
    if letter in _CLOSING:
        return (yield from read_json(unread))
    return (yield from unread.take_while(SCALAR_RUN, LONGEST_SCALAR_CHARACTERS))


def decode_text(written: str) -> str:
    """The text of a JSON string, in which line ends may stand. Raises NotACall for what is none."""
    try:
        return str(json.loads(written, strict=False))
    except (ValueError, UnicodeError) as error:
        raise NotACall(UNREADABLE) from error


def encode_arguments(arguments: dict[str, Any]) -> str:
    """Raises NotACall where they are no JSON: half a surrogate pair."""
    try:
        return msgspec.json.encode(arguments).decode()
    except (UnicodeError, RecursionError, msgspec.MsgspecError) as error:
        raise NotACall(UNREADABLE) from error
