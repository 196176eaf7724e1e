"""The `context` of POST /api/generate: the conversation so far, as numbers that a client hands back as they are.

Ollama has tokens there. Here it is the messages themselves, so that the model's own template writes them again, and
that thoughts are told apart from answers. The numbers are a mark, a checksum, and the compressed messages.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from api.http.long_work import MANY_PARTS
from core.errors import RequestError
from core.requests import Message, Role, TextPart

MARK_INTEGER: Final = 0xBE7C0001
"""Begins every context of this form; no token of any vocabulary."""
MOST_TEXT_BYTES: Final = 64 << 20
MOST_MESSAGES: Final = 100_000
"""Of one conversation. What a client makes up may be a thousand times as long as the numbers that it sends."""
WORD_BYTES: Final = 4
LONG_CHARACTERS: Final = 50_000
"""Some milliseconds of packing and of writing the numbers."""
_FOREIGN: Final = (
    "The field `context` is none that this server gave out; leave it out, or send the messages to /api/chat."
)


class _Said(Struct, array_like=True):
    role: Role
    text: str


_DECODER: Final = msgspec.msgpack.Decoder(Annotated[list[_Said], Meta(max_length=MOST_MESSAGES)])


def encode_past(messages: Sequence[Message]) -> list[int]:
    """Of messages with text alone."""
    data = zlib.compress(msgspec.msgpack.encode([_Said(each.role, each.text) for each in messages]), 1)
    padded = data + bytes(-len(data) % WORD_BYTES)
    return [MARK_INTEGER, zlib.crc32(padded), len(data), *_swap(array("I", padded)).tolist()]


def is_past_long(messages: Sequence[Message]) -> bool:
    """Whether packing them takes so long that nobody else should have to wait for it."""
    return len(messages) > MANY_PARTS or sum(len(each.text) for each in messages) > LONG_CHARACTERS


def decode_past(numbers: Sequence[int]) -> tuple[Message, ...]:
    """Raises RequestError for what is no such context."""
    if len(numbers) < 3 or numbers[0] != MARK_INTEGER:
        raise RequestError(_FOREIGN, "context")
    padded = _swap(array("I", numbers[3:])).tobytes()
    if zlib.crc32(padded) != numbers[1] or numbers[2] > len(padded):
        raise RequestError(_FOREIGN, "context")
    try:
        inflater = zlib.decompressobj()
        plain = inflater.decompress(padded[: numbers[2]], MOST_TEXT_BYTES)
        if not inflater.eof:
            raise RequestError("The field `context` holds too long a conversation; begin a new one.", "context")
        return tuple(Message(each.role, (TextPart(each.text),)) for each in _DECODER.decode(plain))
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError):
        raise RequestError(_FOREIGN, "context") from None


def _swap(words: array[int]) -> array[int]:
    """Words are little-endian on the wire, whatever the machine."""
    if sys.byteorder == "big":
        words.byteswap()
    return words
