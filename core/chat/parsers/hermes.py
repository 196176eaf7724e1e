"""Calls as Hermes and Qwen write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import write_json_calls
from core.chat.parsers.json_text import decode_calls, read_json
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool


class HermesCalls(CallSyntax):
    """Marks around each call; a closing one that is missing is none the worse."""

    begins = ("<tool_call>",)
    marks = ("<tool_call>", "</tool_call>")

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        yield from unread.skip_blanks()
        calls = decode_calls((yield from read_json(unread)))
        yield from unread.skip_blanks()
        yield from unread.literal("</tool_call>")
        for name, arguments in calls:
            unread.call(name, arguments)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        return write_json_calls(
            tools, terms, begin="<tool_call>\n", end="\n</tool_call>", between="\n" if several else None
        )
