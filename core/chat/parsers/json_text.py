"""JSON amid a model's text: where a value ends, and what it says of a call."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import msgspec

from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import Reading, UnreadText

DEEPEST_LEVELS: Final = 100
"""Of lists and objects in one another."""
NAME_KEYS: Final = ("name", "tool_name", "function_name", "function", "tool", "action")
ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "params", "input", "tool_arguments", "kwargs")
TOO_DEEP: Final = "A call's arguments are nested too deep."
MIDST: Final = "The answer ends in the midst of a call."
UNREADABLE: Final = "A call is not written in JSON that can be read."
NAMELESS: Final = "A call names no tool."
_FLAT: Final = re.compile(r"[ \t\r\n,:+\-.0-9A-Za-z]+")
_QUOTED: Final = re.compile(r'(?:[^"\\]|\\.)+', re.DOTALL)
_CLOSING: Final = {"{": "}", "[": "]"}


def read_json(unread: UnreadText) -> Reading[str]:
    """The text of the object or list that stands here. Brackets in its strings count for nothing.

    Raises NotACall where none stands here, or not a whole one.
    """
    parts: list[str] = []
    open_: list[str] = []
    while True:
        letter = yield from unread.more(1)
        if not letter:
            raise NotACall(MIDST)
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
    """The JSON of a string that stands here. Raises NotACall where it has no end."""
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
            raise NotACall(MIDST)


def decode_calls(text: str) -> list[tuple[str, str]]:
    """The calls that an object, or each of a list of objects, tells: names with their arguments' JSON, which is an
    object.

    Raises NotACall where it tells of none.
    """
    try:
        decoded = _read_members(_halve_braces(text))
    except (msgspec.MsgspecError, ValueError, UnicodeError, RecursionError) as error:
        raise NotACall(UNREADABLE) from error
    calls = [_describe(members) for members in decoded]
    if not calls:
        raise NotACall(NAMELESS)
    return calls


def decode_arguments(text: str) -> str:
    """The JSON of an object, as it was written where that is strict JSON already.

    Raises NotACall for anything else.
    """
    try:
        return _as_object(msgspec.Raw(text.encode()))
    except (msgspec.MsgspecError, ValueError, UnicodeError, RecursionError) as error:
        raise NotACall(UNREADABLE) from error


def encode_arguments(arguments: dict[str, Any]) -> str:
    """Raises NotACall where they are no JSON: half a surrogate pair."""
    try:
        return msgspec.json.encode(arguments).decode()
    except (UnicodeError, RecursionError, msgspec.MsgspecError) as error:
        raise NotACall(UNREADABLE) from error


def _halve_braces(text: str) -> str:
    """No JSON begins with two braces; Qwen 2.5's template shows its calls that way, and its models write what they
    see."""
    doubled = text.startswith("{{") and text.endswith("}}")
    return text[1:-1] if doubled else text


Members = dict[str, msgspec.Raw]


def _read_members(text: str) -> list[Members]:
    """Of an object, or of each object of a list. JSON with line ends in its strings is read, too."""
    try:
        return _decode_members(text)
    except msgspec.MsgspecError:
        return _decode_members(msgspec.json.encode(json.loads(text, strict=False, parse_constant=_refuse_constant)))


def _decode_members(text: str | bytes) -> list[Members]:
    if text[:1] in ("[", b"["):
        return msgspec.json.decode(text, type=list[Members])
    return [msgspec.json.decode(text, type=Members)]


def _describe(members: Members) -> tuple[str, str]:
    function = members.get("function")
    if function is not None and bytes(function).lstrip().startswith(b"{"):
        members = msgspec.json.decode(function, type=Members)
    for key in NAME_KEYS:
        name = members.get(key)
        if name is not None and bytes(name).lstrip().startswith(b'"'):
            break
    else:
        raise NotACall(NAMELESS)
    given = next((members[key] for key in ARGUMENT_KEYS if key in members), msgspec.Raw(b"{}"))
    try:
        return msgspec.json.decode(name, type=str), _as_object(given)
    except (msgspec.MsgspecError, ValueError, UnicodeError, RecursionError) as error:
        raise NotACall("A call's arguments are no JSON object.") from error


def _as_object(raw: msgspec.Raw) -> str:
    """Some models write the object as a string of its JSON, or null where there are no arguments."""
    try:
        value = msgspec.json.decode(raw)
        text = bytes(raw).decode()
    except msgspec.MsgspecError:
        value = json.loads(bytes(raw), strict=False, parse_constant=_refuse_constant)
        text = msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return _as_object(msgspec.Raw(value.encode())) if value.strip() else "{}"
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        raise ValueError("no object")
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
