"""Tencent's Hunyuan 3: tags as GLM has them, each with a suffix, and one frame around all calls."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.family import ThoughtMarks
from core.chat.parsers.glm import GlmCalls, KeyTags

_SUFFIX: Final = ":opensource"
SIGN: Final = f"HYTK = '{_SUFFIX}'"
THOUGHT: Final = ThoughtMarks(f"<think{_SUFFIX}>", f"</think{_SUFFIX}>")
HUNYUAN: Final = GlmCalls(
    KeyTags(
        f"<tool_call{_SUFFIX}>",
        f"</tool_call{_SUFFIX}>",
        f"<arg_key{_SUFFIX}>",
        f"</arg_key{_SUFFIX}>",
        f"<arg_value{_SUFFIX}>",
        f"</arg_value{_SUFFIX}>",
        separator=f"<tool_sep{_SUFFIX}>",
        frame=f"<tool_calls{_SUFFIX}>",
        frame_end=f"</tool_calls{_SUFFIX}>",
        gap="\n",
    )
)
