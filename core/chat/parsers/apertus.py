"""Apertus: `<|tools_prefix|>[{"name": {...}}]<|tools_suffix|>`, each object with a tool's name as its one member."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import msgspec

from core.chat.parsers.family import GrammarTerms
from core.chat.parsers.grammar import WrittenJson, join_choices, write_text
from core.chat.parsers.json_calls import JsonCalls
from core.chat.parsers.json_text import NAMELESS, UNREADABLE, decode_arguments, decode_calls
from core.chat.parsers.pieces import NotACall
from core.requests import Tool

_BEGIN, _END = "<|tools_prefix|>", "<|tools_suffix|>"


def decode_keyed(text: str) -> list[tuple[str, str]]:
    """The calls of a list of objects with one member each. Raises NotACall where it is none."""
    try:
        members = msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotACall(UNREADABLE) from error
    if any("name" in each and "arguments" in each for each in members):
        return decode_calls(text)
    calls = [(name, decode_arguments(bytes(raw).decode())) for each in members for name, raw in each.items()]
    if not calls:
        raise NotACall(NAMELESS)
    return calls


class ApertusCalls(JsonCalls):
    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        told = [f"{write_text(f'{{{json.dumps(tool.name)}: ')} {terms.arguments(tool)}" for tool in tools]
        more = ' (", " call)*' if several else ""
        return (
            f"calls: {terms.mark(f'{_BEGIN}[')} call{more} {terms.mark(f']{_END}')}\n"
            f'call: ({join_choices(told)}) "}}"\n'
        )


APERTUS: Final = ApertusCalls(WrittenJson(_BEGIN, _END, listed=True), (_BEGIN,), (_END,), decode=decode_keyed)
