"""Hermes, Qwen 2.5 and 3, Granite 4 and many more: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

Small ones, Qwen Coder above all, leave the marks out, or write a fence in their place.
"""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import FENCE, JsonCalls

HERMES: Final = JsonCalls(
    WrittenJson("<tool_call>\n", "\n</tool_call>"),
    ("<tool_call>",),
    ("</tool_call>", "```"),
    starts=("{", "[", FENCE),
)
