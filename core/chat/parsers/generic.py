"""Models whose templates know tools and are of no family that is known: JSON, in whatever marks."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import FENCE, JsonCalls

_FRAMES: Final = ("tool_call", "tool_calls", "function_call", "function_calls", "tool_code")
GENERIC: Final = JsonCalls(
    WrittenJson("<tool_call>\n", "\n</tool_call>"),
    tuple(f"<{frame}>" for frame in _FRAMES),
    (*(f"</{frame}>" for frame in _FRAMES), "```"),
    starts=("{", "[", FENCE),
)
