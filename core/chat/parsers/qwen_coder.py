"""Qwen3-Coder, Qwen 3.5, Nemotron 3 and StepFun: tags within `<tool_call>`, values on lines of their own."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import CallTags
from core.chat.parsers.tagged_calls import TaggedCalls

QWEN_CODER: Final = TaggedCalls(
    CallTags(
        "<function=",
        "</function>",
        "<parameter=",
        "</parameter>",
        frame="<tool_call>",
        frame_end="</tool_call>",
        lines=True,
    ),
    bare=True,
)
"""These models now and then leave the frame's beginning out."""
