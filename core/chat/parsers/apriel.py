"""ServiceNow's Apriel: a list of JSON within `<tool_calls>`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

APRIEL: Final = JsonCalls(
    WrittenJson("<tool_calls>", "</tool_calls>", listed=True), ("<tool_calls>",), ("</tool_calls>",)
)
