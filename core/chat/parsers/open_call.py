"""A call of a tool that is being read: its arguments are handed out as they grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from core.chat.arguments import find_member, find_problem, fit_arguments, fit_value, is_text_alone
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.tool_gate import show_name
from core.chat.parsers.unread import UnreadText

BROKEN = "A call is written in characters that are none."


class ArgumentsTarget(Protocol):
    """Where the JSON of arguments goes."""

    @property
    def schema(self) -> object:
        """What they are to be, as a decoded JSON Schema; None where that is not known."""
        ...

    def write(self, text: str) -> None: ...


class GrowingCall:
    """Begins with its first arguments. One that is not handed out is told as words, and why, when it ends."""

    def __init__(self, unread: UnreadText, name: str) -> None:
        """`name` is what the model wrote."""
        self._unread = unread
        self._name = name
        self._refused = unread.gate.refuse_call(name)
        self._begun = False
        self._written: list[str] = []
        self.schema: object = None if self._refused else unread.gate.schemas.read(name)

    def write(self, text: str) -> None:
        """More of the arguments' JSON, which says all that was read."""
        if self._refused or not text:
            return
        if not self._begun:
            self._begun = True
            self._unread.begin_call(self._name)
        self._written.append(text)
        self._unread.tell_arguments(text)

    def end(self) -> None:
        """The arguments are whole."""
        if self._refused:
            self._unread.refuse(self._refused)
            return
        problem = find_problem("".join(self._written), self.schema)
        name = show_name(self._name)
        self._unread.end_call(f"A call of {name} does not keep to its schema: {problem}." if problem else "")


class MemberWriter:
    """Writes the arguments of a call member by member, for families that do not write them as JSON."""

    def __init__(self, unread: UnreadText, name: str, *, typed: bool) -> None:
        """`typed`: whether the model writes the types of its values; else all but objects and lists are texts."""
        self._call = GrowingCall(unread, name)
        self._typed = typed
        self._opening = "{"

    def is_text(self, name: str) -> bool:
        """Whether a member is a text, whatever it spells."""
        return self._typed or is_text_alone(find_member(self._call.schema, name))

    def begin_text(self, name: str) -> None:
        """A member whose text comes in parts."""
        self._call.write(f'{self._open_member(name)}"')

    def add_text(self, text: str) -> None:
        if text:
            self._call.write(_encode(text)[1:-1])

    def end_text(self) -> None:
        self._call.write('"')

    def add(self, name: str, value: Any) -> None:
        """A whole member."""
        fitted = fit_value(value, find_member(self._call.schema, name), typed=self._typed)
        self._call.write(f"{self._open_member(name)}{_encode(fitted)}")

    def end(self) -> None:
        self._call.write("{}" if self._opening == "{" else "}")
        self._call.end()

    def _open_member(self, name: str) -> str:
        opening, self._opening = self._opening, ","
        return f"{opening}{_encode(name)}:"


def tell_call(unread: UnreadText, name: str, arguments: str, *, written: str = "") -> None:
    """A whole call. What was read is how it was written, or `written` is."""
    if written:
        unread.pretend(written)
    call = GrowingCall(unread, name)
    call.write(fit_arguments(arguments, call.schema, typed=True))
    call.end()


def _encode(value: Any) -> str:
    """As JSON, with a sign in place of each half of a surrogate pair. Raises NotACall for what is nested too deep."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeError:
        return msgspec.json.encode(_mend(value)).decode()
    except (RecursionError, msgspec.MsgspecError) as error:
        raise NotACall(BROKEN) from error


def _mend(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case Mapping():
            return {_mend(key): _mend(item) for key, item in value.items()}
        case list():
            return [_mend(item) for item in value]
        case _:
            return value
