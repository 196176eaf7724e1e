"""Kimi K2: `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.family import GrammarTerms
from core.chat.parsers.named_calls import NamedCalls, NamedMarks
from core.chat.parsers.unread import Reading, UnreadText

_BEGIN, _ARGUMENTS, _PREFIX = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "functions."


class KimiCalls(NamedCalls):
    """Names stand within an id, which numbers the calls of a conversation."""

    def read_name(self, unread: UnreadText) -> Reading[str]:
        name = yield from super().read_name(unread)
        return name.rpartition(":")[0] or name

    def write_name(self, name: str, terms: GrammarTerms) -> str:
        return f"{terms.mark(f'{_BEGIN}{_PREFIX}{name}:')} /[0-9]+/ {terms.mark(_ARGUMENTS)}"


KIMI: Final = KimiCalls(
    NamedMarks(
        _BEGIN,
        _ARGUMENTS,
        "<|tool_call_end|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        prefix=_PREFIX,
    )
)
