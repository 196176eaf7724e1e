"""Mistral: a list of JSON behind `[TOOL_CALLS]`, or `[TOOL_CALLS]name[ARGS]{...}` for each call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import WrittenJson, join_choices
from core.chat.parsers.json_arguments import read_call_arguments
from core.chat.parsers.json_calls import JsonCalls
from core.chat.parsers.json_text import NAMELESS
from core.chat.parsers.named_calls import read_tool_name
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool

BEGIN, IDENTITY, ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
ID_CHARACTERS: Final = 64
_ID: Final = re.compile(r"[A-Za-z0-9_-]*")
_OLD: Final = JsonCalls(WrittenJson(BEGIN, listed=True), (BEGIN,))


class MistralCalls(CallSyntax):
    """Reads both, whichever the template shows; the grammar is that of the template."""

    begins = (BEGIN,)
    marks = (BEGIN, IDENTITY, ARGUMENTS)

    def __init__(self, *, named: bool, numbered: bool = False) -> None:
        """`named`: names stand before the arguments' JSON, `numbered`: and ids behind the names."""
        self._named = named
        self._numbered = numbered

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        yield from unread.skip_blanks()
        if (yield from unread.more(1)) in ("[", "{") and (yield from self._is_json(unread)):
            yield from _OLD.read(mark, unread)
            return
        name = yield from read_tool_name(unread)
        yield from unread.skip_blanks()
        if (yield from unread.literal(IDENTITY)) is not None:
            yield from unread.take_while(_ID, ID_CHARACTERS)
        if (yield from unread.literal(ARGUMENTS)) is None and (yield from unread.more(1)) != "{":
            raise NotACall(NAMELESS)
        yield from unread.skip_blanks()
        yield from read_call_arguments(unread, name)

    def _is_json(self, unread: UnreadText) -> Reading[bool]:
        """Rather than a mark."""
        return not (yield from unread.more(2)).startswith(("[T", "[C", "[A"))

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        if not self._named:
            return _OLD.write_grammar(tools, terms, several=several)
        identity = f"{terms.mark(IDENTITY)} ID " if self._numbered else ""
        told = [
            f"{terms.mark(f'{BEGIN}{tool.name}')} {identity}{terms.mark(ARGUMENTS)} {terms.arguments(tool)}"
            for tool in tools
        ]
        rule = "ID: /[a-zA-Z0-9]{9}/\n" if self._numbered else ""
        return f"calls: call{' call*' if several else ''}\ncall: {join_choices(told)}\n{rule}"
