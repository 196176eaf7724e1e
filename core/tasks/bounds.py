"""How much text a model can be asked to read at all: told by its bytes, before anything reads it."""

from __future__ import annotations

from typing import Final

from core.errors import ContextExceeded, RequestError
from core.requests import Conversation, Generation, Infill, Message, RawText, RawTokens, Tool

SHORT_BYTES: Final = 64 * 1024
"""Bytes of text that is read in some milliseconds."""
FEW_BYTES: Final = 512 * 1024
"""Bytes that are always read: templates leave out parts of conversations, and some vocabularies make one token of a
word however long it is."""
MOST_TOKEN_BYTES: Final = 256
"""Bytes that a token stands for at most: long ones are runs of blanks."""


class PromptTooLarge(ContextExceeded):
    """The text has more bytes than the context holds, whatever its tokens are."""

    def __init__(self, size: int, most: int, context: int, field: str = "messages") -> None:
        RequestError.__init__(
            self,
            f"The text has {size} bytes and no text of more than {most} fits the context of {context} tokens; shorten "
            "it or load the model with a larger --ctx-size.",
            field,
        )
        self.prompt_tokens = size // MOST_TOKEN_BYTES
        self.context = context


def bound_bytes(context: int) -> int:
    """Bytes of text beyond which nothing fits a context of so many tokens."""
    return max(FEW_BYTES, context * MOST_TOKEN_BYTES)


def count_prompt_bytes(request: Generation) -> int:
    """Bytes of UTF-8 in a prompt, four for a token; quick."""
    match request.prompt:
        case Conversation(messages=messages, tools=tools):
            return sum(map(_count_message_bytes, messages)) + sum(map(_count_tool_bytes, tools))
        case RawText(text=text):
            return count_text_bytes(text)
        case RawTokens(tokens=tokens):
            return 4 * len(tokens)
        case Infill(before=before, after=after, files=files, begun=begun):
            named = (text for file in files for text in file)
            return sum(map(count_text_bytes, (before, after, begun, *named)))


def _count_message_bytes(message: Message) -> int:
    calls = (text for call in message.tool_calls for text in (call.name, call.arguments))
    return sum(map(count_text_bytes, (*(part.text for part in message.parts), message.reasoning, *calls)))


def _count_tool_bytes(tool: Tool) -> int:
    return sum(map(count_text_bytes, (tool.name, tool.description, tool.parameters)))


def count_text_bytes(text: str) -> int:
    """Bytes of its UTF-8; what cannot be encoded counts as replaced."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
