"""From a conversation to token ids, with control tokens only where the template wrote them.

Whoever writes `<|im_end|>` in a message means the characters; parsed as a control token it would end the message and
let its author speak as the system. So what looks like a control token in a message is marked before the template
renders it, and tokenised as plain text afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from core.chat.template import ChatTemplate
from core.engines.base import Tokenizer
from core.requests import Message, Scalar, TextPart

OPEN, CLOSE = "\ue000", "\ue001"
"""Private-use characters around what is to be plain; a message's own are taken out of it first."""
MARKED = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)


class PromptEncoder:
    """Renders and tokenises conversations for one model. Safe to call from any thread."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._template = template
        self._tokenizer = tokenizer
        longest_first = sorted(tokenizer.controls, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def encode(self, messages: Sequence[Message], arguments: Mapping[str, Scalar]) -> list[int]:
        """Raises RequestError where the template refuses the messages."""
        text = self._template.render([self._marked(message) for message in messages], arguments)
        tokens: list[int] = []
        # The pattern has one group, so what split() returns alternates: the template's text, marked text, ...
        for number, piece in enumerate(MARKED.split(text)):
            if piece or number == 0:
                tokens += self._tokenizer.encode(piece, special=number % 2 == 0, begin=number == 0)
        return tokens

    def _marked(self, message: Message) -> Message:
        parts = tuple(TextPart(self._mark(part.text)) for part in message.parts)
        return message if parts == message.parts else replace(message, parts=parts)

    def _mark(self, text: str) -> str:
        if OPEN in text or CLOSE in text:
            text = text.replace(OPEN, "").replace(CLOSE, "")
        return self._control.sub(rf"{OPEN}\g<0>{CLOSE}", text) if self._control else text
