"""Cohere's Command R and A: lists of JSON, behind `<|START_ACTION|>` or the word `Action`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

_KEYS: Final = ("tool_name", "parameters")
COMMAND: Final = JsonCalls(
    WrittenJson("<|START_ACTION|>", "<|END_ACTION|>", listed=True, keys=_KEYS),
    ("<|START_ACTION|>",),
    ("<|END_ACTION|>",),
)
COMMAND_PLUS: Final = JsonCalls(
    WrittenJson("Action:\n```json\n", "\n```", listed=True, keys=_KEYS),
    ("Action:\n```json", "Action: ```json"),
    ("```",),
)
FRAMES: Final = (
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "<|START_TEXT|>",
    "<|END_TEXT|>",
)
"""Around what is said."""
