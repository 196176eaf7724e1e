"""Seed-OSS: tags within `<seed:tool_call>`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import CallTags
from core.chat.parsers.tagged_calls import TaggedCalls

SEED: Final = TaggedCalls(
    CallTags(
        "<function=",
        "</function>",
        "<parameter=",
        "</parameter>",
        frame="<seed:tool_call>",
        frame_end="</seed:tool_call>",
    )
)
