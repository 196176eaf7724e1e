"""Sber's GigaChat 3: JSON in a turn of its own, or behind `<|function_call|>`."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import JsonCalls

_TURN: Final = "<|message_sep|>\n\nfunction call<|role_sep|>\n"
GIGACHAT: Final = JsonCalls(WrittenJson(_TURN, between=""), (_TURN,))
GIGACHAT_31: Final = JsonCalls(WrittenJson("<|function_call|>", between=""), ("<|function_call|>",))
