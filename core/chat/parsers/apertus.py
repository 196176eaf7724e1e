"""Apertus: `<|tools_prefix|>[{"name": {...}}]<|tools_suffix|>`, each object with a tool's name as its one member."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import GrammarTerms
from core.chat.parsers.grammar import WrittenJson, join_choices, write_text
from core.chat.parsers.json_calls import JsonCalls
from core.requests import Tool

_BEGIN, _END = "<|tools_prefix|>", "<|tools_suffix|>"


class ApertusCalls(JsonCalls):
    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        told = [f"{write_text(f'{{{json.dumps(tool.name)}: ')} {terms.arguments(tool)}" for tool in tools]
        more = ' (", " call)*' if several else ""
        return (
            f"calls: {terms.mark(f'{_BEGIN}[')} call{more} {terms.mark(f']{_END}')}\n"
            f'call: ({join_choices(told)}) "}}"\n'
        )


APERTUS: Final = ApertusCalls(WrittenJson(_BEGIN, _END, listed=True), (_BEGIN,), (_END,), keyed=True)
