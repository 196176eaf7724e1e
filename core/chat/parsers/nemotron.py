"""NVIDIA's Nemotron Nano 2: a list of JSON within `<TOOLCALL>`. Nemotron 3 writes as Qwen3-Coder does."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

NEMOTRON: Final = JsonCalls(WrittenJson("<TOOLCALL>", "</TOOLCALL>", listed=True), ("<TOOLCALL>",), ("</TOOLCALL>",))
