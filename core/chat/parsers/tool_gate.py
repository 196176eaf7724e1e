"""Which calls of an answer are handed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from core.foreign_text import make_printable
from core.requests import Tool

SHOWN_NAME_CHARACTERS: Final = 60


class ToolSchemas:
    """The tools of one request, and their schemas, each decoded once for all of its answers: some have a megabyte."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self.tools = tools
        self._decoded: dict[str, object] = {}

    def read(self, name: str) -> object:
        """What the arguments of one of the tools are to be; None where its schema cannot be read."""
        if name not in self._decoded:
            try:
                self._decoded[name] = msgspec.json.decode(self.tools[name].parameters)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                self._decoded[name] = None
        return self._decoded[name]


class ToolGate:
    """Knows the tools of one request, and counts the calls of one answer."""

    def __init__(self, schemas: ToolSchemas, *, parallel: bool = True) -> None:
        """`parallel`: whether there may be several calls."""
        self.schemas = schemas
        self._parallel = parallel
        self._calls = 0

    def refuse_call(self, name: str) -> str:
        """A sentence that says why a call of this name is not handed out; empty where it is."""
        if name not in self.schemas.tools:
            shown = show_name(name)
            return f"The model called {shown}, which is none of the request's tools; the call is left in the text."
        if self._calls and not self._parallel:
            return "The model called several tools, and one was asked for; the others are left in the text."
        return ""

    def count_call(self) -> None:
        """One was handed out."""
        self._calls += 1


def show_name(name: str) -> str:
    """A name that a model wrote, for people to read."""
    return make_printable(name[:SHOWN_NAME_CHARACTERS])
