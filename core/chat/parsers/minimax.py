"""MiniMax M2: all calls within `<minimax:tool_call>`. M1 writes JSON, a line each, within `<tool_calls>`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import CallTags
from core.chat.parsers.tagged_calls import TaggedCalls

MINIMAX: Final = TaggedCalls(
    CallTags(
        '<invoke name="',
        "</invoke>",
        '<parameter name="',
        "</parameter>",
        name_end='">',
        frame="<minimax:tool_call>",
        frame_end="</minimax:tool_call>",
    ),
    within_frame=True,
)
