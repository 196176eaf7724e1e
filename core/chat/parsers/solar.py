"""Upstage's Solar Open: `<|tool_call:begin|>id<|tool_call:name|>name<|tool_call:args|>{...}<|tool_call:end|>`."""

from __future__ import annotations

import re
from typing import Final

from core.chat.parsers.family import GrammarTerms, ThoughtMarks
from core.chat.parsers.json_text import NAMELESS
from core.chat.parsers.named_calls import LONGEST_NAME_CHARACTERS, NamedCalls, NamedMarks
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import Reading, UnreadText

THOUGHT: Final = ThoughtMarks("<|think|>", "<|end|>", turn="<|begin|>assistant", lead="<|content|>")
FRAMES: Final = ("<|begin|>assistant", "<|begin|>", "<|content|>", "<|end|>")
_BEGIN, _NAME, _ARGUMENTS = "<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>"
_ID: Final = re.compile(r"[A-Za-z0-9_\-]*")


class SolarCalls(NamedCalls):
    """An id that the model makes up stands before each name."""

    def __init__(self) -> None:
        super().__init__(NamedMarks(_BEGIN, _ARGUMENTS, "<|tool_call:end|>", "<|tool_calls|>", "<|calls|>"))
        self.marks = (*self.marks, _NAME)

    def read_name(self, unread: UnreadText) -> Reading[str]:
        yield from unread.skip_blanks()
        yield from unread.take_while(_ID, LONGEST_NAME_CHARACTERS)
        if (yield from unread.literal(_NAME)) is None:
            raise NotACall(NAMELESS)
        return (yield from super().read_name(unread))

    def write_name(self, name: str, terms: GrammarTerms) -> str:
        return f"{terms.mark(_BEGIN)} /[a-z0-9]{{10}}/ {terms.mark(f'{_NAME}{name}{_ARGUMENTS}')}"


SOLAR: Final = SolarCalls()
