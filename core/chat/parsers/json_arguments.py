"""Arguments that a model writes as JSON, handed out as they are written.

What loses nothing is set right on the way: whole floats where the schema wants integers, letters that JSON wants
escaped, backslashes that escape nothing, commas before a bracket that closes, words as Python spells them.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from core.chat.arguments import find_items, find_member, fit_scalar
from core.chat.parsers.json_text import (
    DEEPEST_LEVELS,
    LONGEST_SCALAR_CHARACTERS,
    SCALAR_RUN,
    TOO_DEEP,
    UNREADABLE,
    decode_text,
    read_string,
)
from core.chat.parsers.open_call import ArgumentsTarget, GrowingCall, tell_call
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText

LONGEST_GAP_CHARACTERS: Final = 1 << 16
_CONTROLS: Final = tuple(map(chr, range(0x20)))
_STRING_MARKS: Final = MarkSet(('"', "\\", *_CONTROLS))
_GAP: Final = re.compile(r"[ \t\r\n]*")
_ESCAPED: Final = frozenset('"\\/bfnrt')
_HEX: Final = re.compile(r"[0-9a-fA-F]{4}")
_LOST: Final = "\\ufffd"
"""In place of half a surrogate pair."""


def read_call_arguments(unread: UnreadText, name: str) -> Reading[None]:
    """Hands out a call whose arguments stand here, as an object or as a text of its JSON.

    Raises NotACall, CallCut as `write_arguments` does.
    """
    if (yield from unread.more(1)) == '"':
        written = decode_text((yield from read_string(unread)))
        tell_call(unread, name, mend_arguments(written.strip() or "{}", None))
        return
    call = GrowingCall(unread, name)
    yield from write_arguments(unread, call)
    call.end()


def write_arguments(unread: UnreadText, target: ArgumentsTarget) -> Reading[None]:
    """Hands out the JSON object that stands here.

    Raises NotACall where none stands here or it does not go on, CallCut where the text ends in its midst, which is
    handed out as it stands.
    """
    try:
        yield from _write_object(unread, target, target.schema, 0)
    except CallCut:
        if unread.calling:
            target.write(unread.rest())
        raise


def mend_arguments(text: str, schema: object) -> str:
    """The same of a text. Raises NotACall where it is no object."""
    kept = _KeptArguments(schema)
    unread = UnreadText(tidy=False)
    unread.push(text)
    unread.close(cut=False)
    try:
        for _ in _write_alone(unread, kept):
            pass
    except CallCut as error:
        raise NotACall(UNREADABLE) from error
    return "".join(kept.parts)


def _write_alone(unread: UnreadText, target: ArgumentsTarget) -> Reading[None]:
    """Raises NotACall for more than an object."""
    yield from write_arguments(unread, target)
    yield from unread.skip_blanks()
    if not (yield from unread.at_end()):
        raise NotACall(UNREADABLE)


class _KeptArguments:
    def __init__(self, schema: object) -> None:
        self.schema = schema
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


def _write_value(unread: UnreadText, target: ArgumentsTarget, schema: object, level: int) -> Reading[None]:
    letter = yield from unread.more(1)
    if letter == '"':
        yield from _write_string(unread, target)
    elif letter == "{":
        yield from _write_object(unread, target, schema, level)
    elif letter == "[":
        yield from _write_list(unread, target, find_items(schema), level)
    else:
        yield from _write_scalar(unread, target, schema)


def _write_object(unread: UnreadText, target: ArgumentsTarget, schema: object, level: int) -> Reading[None]:
    yield from _open_bracket(unread, target, "{", level)
    comma = ""
    while True:
        gap = yield from _read_gap(unread)
        if (yield from _look_at(unread, '"}')) == "}":
            break
        key = yield from read_string(unread)
        name = decode_text(key)
        before = yield from _read_gap(unread)
        yield from _look_at(unread, ":")
        unread.take(1)
        behind = yield from _read_gap(unread)
        target.write(f"{comma}{gap}{key}{before}:{behind}")
        yield from _write_value(unread, target, find_member(schema, name), level + 1)
        gap = yield from _read_gap(unread)
        if (yield from _look_at(unread, ",}")) == "}":
            break
        unread.take(1)
        comma = f"{gap},"
    unread.take(1)
    target.write(f"{gap}}}")


def _write_list(unread: UnreadText, target: ArgumentsTarget, schema: object, level: int) -> Reading[None]:
    yield from _open_bracket(unread, target, "[", level)
    comma = ""
    while True:
        gap = yield from _read_gap(unread)
        if (yield from unread.more(1)) == "]":
            break
        target.write(f"{comma}{gap}")
        yield from _write_value(unread, target, schema, level + 1)
        gap = yield from _read_gap(unread)
        if (yield from _look_at(unread, ",]")) == "]":
            break
        unread.take(1)
        comma = f"{gap},"
    unread.take(1)
    target.write(f"{gap}]")


def _open_bracket(unread: UnreadText, target: ArgumentsTarget, bracket: str, level: int) -> Reading[None]:
    if level >= DEEPEST_LEVELS:
        raise NotACall(TOO_DEEP)
    yield from _look_at(unread, bracket)
    unread.take(1)
    target.write(bracket)


def _write_string(unread: UnreadText, target: ArgumentsTarget) -> Reading[None]:
    unread.take(1)
    target.write('"')
    while True:
        mark = yield from unread.write_until(_STRING_MARKS, target.write)
        if not mark:
            raise CallCut
        if mark == '"':
            target.write('"')
            return
        target.write((yield from _read_escape(unread)) if mark == "\\" else msgspec.json.encode(mark).decode()[1:-1])


def _read_escape(unread: UnreadText) -> Reading[str]:
    """What stands behind a backslash, and the backslash. One that escapes nothing stands for itself."""
    letter = yield from unread.more(1)
    if not letter:
        raise CallCut
    if letter in _ESCAPED:
        return f"\\{unread.take(1)}"
    if letter == "'":
        return unread.take(1)
    if letter != "u":
        return "\\\\"
    digits = (yield from unread.more(5))[1:]
    if len(digits) < 4 and unread.closed:
        raise CallCut
    if _HEX.fullmatch(digits) is None:
        return "\\\\"
    unread.take(5)
    code = int(digits, 16)
    if not 0xD800 <= code < 0xE000:
        return f"\\u{digits}"
    following = yield from unread.more(6)
    if code < 0xDC00 and re.fullmatch(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}", following):
        return f"\\u{digits}{unread.take(6)}"
    return _LOST


def _write_scalar(unread: UnreadText, target: ArgumentsTarget, schema: object) -> Reading[None]:
    text = yield from unread.take_while(SCALAR_RUN, LONGEST_SCALAR_CHARACTERS)
    if (yield from unread.at_end()):
        raise CallCut
    try:
        target.write(fit_scalar(text, schema))
    except ValueError as error:
        raise NotACall(UNREADABLE) from error


def _read_gap(unread: UnreadText) -> Reading[str]:
    return (yield from unread.take_while(_GAP, LONGEST_GAP_CHARACTERS))


def _look_at(unread: UnreadText, letters: str) -> Reading[str]:
    """The letter that stands here, which is one of these; it is not read."""
    letter = yield from unread.more(1)
    if not letter:
        raise CallCut
    if letter not in letters:
        raise NotACall(UNREADABLE)
    return letter
