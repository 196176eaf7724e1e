"""Calls written as a name and the JSON of the arguments, with marks around and between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import join_choices, mark_term, repeat_rule
from core.chat.parsers.json_arguments import read_call_arguments
from core.chat.parsers.json_text import NAMELESS
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool

LONGEST_NAME_CHARACTERS: Final = 256
NAME: Final = re.compile(r"[A-Za-z0-9_.\-/:+$@]*")
"""What names of tools are made of."""


class NamedMarks(Struct, frozen=True):
    """What stands around a call's name and arguments. An empty text stands nowhere."""

    begin: str
    """Before a name."""
    between: str
    """Between the name and the arguments."""
    end: str = ""
    section: str = ""
    """Before all calls."""
    section_end: str = ""
    prefix: str = ""
    """Of names, which is no part of them."""


class NamedCalls(CallSyntax):
    """Reads calls until something else comes; marks that are missing at the end are none the worse."""

    def __init__(self, marks: NamedMarks, end: str = "") -> None:
        """`end`: what is looked for behind the arguments, where that is not all of the mark."""
        self._marks = marks
        self._end = end or marks.end
        self.begins = tuple(filter(None, (marks.section, marks.begin)))
        self.ends = tuple(filter(None, (self._end, marks.section_end)))
        told = (*self.begins, marks.between, marks.end, marks.section_end)
        self.marks = tuple(mark.strip() for mark in told if mark.strip())

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        marks = self._marks
        begun = mark == marks.begin
        while True:
            if not begun:
                yield from unread.skip_blanks()
                begun = (yield from unread.literal(marks.begin)) is not None
            if not begun:
                break
            name = yield from self.read_name(unread)
            yield from unread.skip_blanks()
            yield from self.read_arguments(unread, name)
            yield from unread.skip_blanks()
            if self._end:
                yield from unread.closing(self._end)
            unread.drop()
            begun = False
        if marks.section_end:
            yield from unread.closing(marks.section_end)

    def read_name(self, unread: UnreadText) -> Reading[str]:
        """The name, and what parts it from the arguments."""
        name = yield from read_tool_name(unread)
        yield from unread.skip_blanks()
        if self._marks.between.strip() and (yield from unread.literal(self._marks.between.strip())) is None:
            raise NotACall(NAMELESS)
        return name.removeprefix(self._marks.prefix)

    def read_arguments(self, unread: UnreadText, name: str) -> Reading[None]:
        """Hands the call out."""
        yield from read_call_arguments(unread, name)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        marks = self._marks
        told = [f"{self.write_name(tool.name, terms)} {terms.arguments(tool)}" for tool in tools]
        more = repeat_rule("call", "", terms, several=several)
        begin, end = mark_term(marks.section, terms), mark_term(marks.section_end, terms)
        return f"calls: {begin} call{more} {end}\ncall: ({join_choices(told)}) {mark_term(marks.end, terms)}\n"

    def write_name(self, name: str, terms: GrammarTerms) -> str:
        """Terms for all that goes before a call's arguments."""
        marks = self._marks
        return terms.mark(f"{marks.begin}{marks.prefix}{name}{marks.between}")


def read_tool_name(unread: UnreadText) -> Reading[str]:
    """Raises NotACall where none stands here."""
    yield from unread.skip_blanks()
    name = yield from unread.take_while(NAME, LONGEST_NAME_CHARACTERS)
    if not name:
        raise NotACall(NAMELESS)
    return name
