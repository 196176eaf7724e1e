"""The checksum of a file that grows at its end while it is downloaded."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from core.retry import Stopped

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK_BYTES = 1 << 20
"""Bytes that are read at a time."""


class Checksum:
    """Takes the bytes of a file in order, each once. For one thread at a time."""

    def __init__(self, etag: str, size: int) -> None:
        """Of a file of `size` bytes, to be compared with `etag`. The Hub's etags are the SHA-256 of a file in
        large-file storage, and git's name of a blob for any other: the SHA-1 of `blob SIZE`, a zero byte and the
        content. Any other etag is compared with nothing."""
        self.etag = etag
        self._digest = _hasher(etag, size)
        self.taken = 0
        """Bytes taken so far."""

    def add(self, piece: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        self.taken += len(piece)
        if self._digest is not None:
            self._digest.update(piece)

    def read(self, path: Path, end: int, stop: threading.Event) -> None:
        """Read the file up to byte `end`, from the first byte not taken yet. Raises OSError, and Stopped soon after
        `stop` is set."""
        if self._digest is None:
            self.taken = end
        if self.taken >= end:
            return
        buffer = memoryview(bytearray(BLOCK_BYTES))
        with path.open("rb", buffering=0) as file:
            file.seek(self.taken)
            while self.taken < end:
                if stop.is_set():
                    raise Stopped
                count = file.readinto(buffer[: end - self.taken]) or 0
                if not count:
                    raise OSError(f"{path} became shorter while it was read")
                self.add(buffer[:count])

    @property
    def right(self) -> bool:
        """Whether the checksum is that of the etag; true for an etag that is no checksum."""
        return self._digest is None or self._digest.hexdigest() == self.etag


def _hasher(etag: str, size: int) -> _Hash | None:
    """None where the etag is no checksum of the content."""
    if not set(etag) <= set("0123456789abcdef"):
        return None
    if len(etag) == 64:
        return hashlib.sha256()
    if len(etag) == 40:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return None
