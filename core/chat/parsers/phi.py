"""Microsoft's Phi 4 mini: a list of JSON between `<|tool_call|>` and `<|/tool_call|>`, or behind `functools`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

PHI: Final = JsonCalls(
    WrittenJson("<|tool_call|>", "<|/tool_call|>", listed=True),
    ("<|tool_call|>", "functools"),
    ("<|/tool_call|>",),
)
FUNCTOOLS: Final = JsonCalls(WrittenJson(" functools", listed=True), ("functools",))
"""Of Firefunction, too."""
