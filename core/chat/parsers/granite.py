"""IBM's Granite 3: a list of JSON behind `<|tool_call|>`. Granite 4 writes as Hermes does."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

GRANITE: Final = JsonCalls(
    WrittenJson("<|tool_call|>", listed=True), ("<|tool_call|>", "<tool_call>"), ("</tool_call>", "<|/tool_call|>")
)
FRAMES: Final = ("<response>", "</response>")
"""Around what is said behind a thought."""
