"""Vectors and scores that were computed lately, for texts that come again."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Generic, TypeVar

from core.contract.models import TokenPair

Result = TypeVar("Result", bound=bytes | float)

KEY_BYTES: Final = 16
ENTRY_BYTES: Final = 256
"""What an entry takes beside its vector: its key, the objects around both, its share of the table."""


class ResultCache(Generic[Result]):
    """The results used last, in so many bytes. Belongs to one thread."""

    def __init__(self, room: int) -> None:
        """`room`: bytes; zero keeps nothing."""
        self._room = room
        self._entries: OrderedDict[bytes, Result] = OrderedDict()
        self.size = 0
        """Bytes."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes) -> Result | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def keep(self, key: bytes, result: Result) -> None:
        """What was used longest ago makes room."""
        taken = _count_bytes(result)
        if taken > self._room:
            return
        if (old := self._entries.pop(key, None)) is not None:
            self.size -= _count_bytes(old)
        self._entries[key] = result
        self.size += taken
        while self.size > self._room:
            _, least = self._entries.popitem(last=False)
            self.size -= _count_bytes(least)


def name_text(tenant: str, text: Sequence[int] | TokenPair) -> bytes:
    """The key of a text's result: that of another tenant, or of other tokens, is another one."""
    digest = blake2b(digest_size=KEY_BYTES, key=blake2b(tenant.encode(), digest_size=32).digest())
    if isinstance(text, TokenPair):
        digest.update(b"%d " % text.second)
        text = text.tokens
    digest.update(text if isinstance(text, array) else array("i", text))
    return digest.digest()


def _count_bytes(result: bytes | float) -> int:
    return ENTRY_BYTES + (len(result) if isinstance(result, bytes) else 0)
