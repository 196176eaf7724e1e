"""Hermes, Qwen 2.5 and 3, Granite 4 and many more: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

HERMES: Final = JsonCalls(WrittenJson("<tool_call>\n", "\n</tool_call>"), ("<tool_call>",), ("</tool_call>",))
