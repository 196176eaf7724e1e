"""The input of a custom tool, which the model writes as the only argument of a function: a text in a JSON object."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec
from msgspec import Struct

_HEAD: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_TEXT: Final = re.compile(
    r'(?:[^"\\]|\\["\\/bfnrt]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4})*'
)
"""Of a JSON string, as far as whole letters go."""


class _InputArguments(Struct):
    input: str


def wrap_custom_input(text: str) -> str:
    """The arguments that stand for a custom tool's input."""
    return msgspec.json.encode(_InputArguments(text)).decode()


def read_custom_input(arguments: str) -> str:
    """The input of a call whose arguments are whole. Arguments that are something else are told as they stand."""
    wrapped = CustomInput()
    wrapped.add(arguments)
    return wrapped.end()[1]


class CustomInput:
    """The input of one call, as its arguments come."""

    def __init__(self) -> None:
        self._arguments: list[str] = []
        self._told: list[str] = []
        self._ahead = ""
        """What was not told yet."""
        self._inside = False

    def add(self, arguments: str) -> str:
        """More of the input."""
        self._arguments.append(arguments)
        self._ahead += arguments
        if not self._inside:
            head = _HEAD.match(self._ahead)
            if head is None:
                return ""
            self._inside, self._ahead = True, self._ahead[head.end() :]
        found = _TEXT.match(self._ahead)
        assert found is not None, "it matches nothing at all, too"
        self._ahead = self._ahead[found.end() :]
        text = str(json.loads(f'"{found[0]}"', strict=False))
        self._told.append(text)
        return text

    def end(self) -> tuple[str, str]:
        """The rest of the input, and all of it. Arguments that are something else are told as they stand."""
        told, arguments = "".join(self._told), "".join(self._arguments)
        try:
            whole = msgspec.json.decode(arguments.encode(), type=_InputArguments).input
        except (msgspec.MsgspecError, UnicodeError):
            return ("", told) if self._inside else (arguments, arguments)
        return (whole.removeprefix(told), whole) if whole.startswith(told) else ("", told)
