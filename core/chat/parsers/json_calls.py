"""Calls written as JSON objects with a name and arguments, singly or in a list, behind a mark of a family's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import WrittenJson, write_json_calls
from core.chat.parsers.json_text import ARGUMENT_KEYS, NAME_KEYS, decode_calls, read_json
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool

FIRST_KEYS: Final = tuple(json.dumps(key) for key in (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id", "tool_call_id"))
"""What the object of a call may begin with, where no mark says that it is one."""
FENCE: Final = "```json\n"
"""What some models write in place of their family's mark."""
Decode = Callable[[str], Sequence[tuple[str, str]]]


class JsonCalls(CallSyntax):
    """Reads objects and lists of them until something else comes; a closing mark that is missing is none the worse."""

    def __init__(
        self,
        written: WrittenJson,
        begins: tuple[str, ...] = (),
        ends: tuple[str, ...] = (),
        *,
        starts: tuple[str, ...] = (),
        decode: Decode = decode_calls,
    ) -> None:
        """`starts`: brackets that begin a call without any mark, where an answer begins."""
        self.begins = begins
        self.starts = starts
        self.marks = (*begins, *ends)
        self._written = written
        self._ends = ends
        self._decode = decode

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        if mark in self.starts:
            yield from _require_key(unread)
            unread.put_back()
            yield from unread.literal(*(start for start in self.starts if start not in "{["))
        calls: list[tuple[str, str]] = []
        while True:
            yield from unread.skip_blanks()
            calls += self._decode((yield from read_json(unread)))
            yield from unread.skip_blanks()
            yield from unread.literal(",", ";")
            yield from unread.skip_blanks()
            if (yield from unread.more(1)) not in ("{", "["):
                break
        yield from unread.closing(*self._ends)
        for name, arguments in calls:
            unread.call(name, arguments)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        return write_json_calls(tools, terms, self._written, several=several)


def _require_key(unread: UnreadText) -> Reading[None]:
    """Raises NotACall, in silence, where an object or the first of a list does not begin as a call does."""
    yield from unread.skip_blanks()
    while (yield from unread.literal("[", "{")) is not None:
        yield from unread.skip_blanks()
    if (yield from unread.literal(*FIRST_KEYS)) is None:
        raise NotACall("")
