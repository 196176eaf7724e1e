"""Kimi K2: `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import GrammarTerms
from core.chat.parsers.grammar import join_choices
from core.chat.parsers.named_calls import NamedCalls, NamedMarks
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool

_ARGUMENTS: Final = "<|tool_call_argument_begin|>"


class KimiCalls(NamedCalls):
    """Names stand within an id, which numbers the calls of a conversation."""

    def read_name(self, unread: UnreadText) -> Reading[str]:
        name = yield from super().read_name(unread)
        return name.rpartition(":")[0] or name

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        told = [
            f"{terms.mark(f'<|tool_call_begin|>functions.{tool.name}:')} NUMBER {terms.mark(_ARGUMENTS)} "
            f"{terms.arguments(tool)}"
            for tool in tools
        ]
        begin, end = terms.mark("<|tool_calls_section_begin|>"), terms.mark("<|tool_calls_section_end|>")
        return (
            f"calls: {begin} call{' call*' if several else ''} {end}\n"
            f"call: ({join_choices(told)}) {terms.mark('<|tool_call_end|>')}\nNUMBER: /[0-9]+/\n"
        )


KIMI: Final = KimiCalls(
    NamedMarks(
        "<|tool_call_begin|>",
        _ARGUMENTS,
        "<|tool_call_end|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        prefix="functions.",
    )
)
