"""Checksums of a file while it is still being written."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from core.models.downloads.retry import Stopped

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK = 1 << 20
LOOK_EVERY = 0.05
"""Seconds between looks at whether somebody wants it to end."""


def hasher(etag: str, size: int) -> _Hash | None:
    """What makes `etag` of a file of `size` bytes; None where it is no checksum of the content.

    The Hub's etags are the SHA-256 of a file in large-file storage, and git's name of a blob for any other: the SHA-1
    of `blob SIZE`, a zero byte and the content.
    """
    if not set(etag) <= set("0123456789abcdef"):
        return None
    if len(etag) == 64:
        return hashlib.sha256()
    if len(etag) == 40:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return None


class Follower:
    """Reads behind a writer, on a thread of its own: receiving never waits for the checksum, and a part that was
    there before is read while new bytes arrive. The writer says `grown` after each write."""

    def __init__(self, path: Path, digest: _Hash) -> None:
        self._path = path
        self._digest = digest
        self._turn = threading.Condition()
        self._size = 0
        self._complete = False
        self._abandoned = False
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._follow, name=f"checksum {path.name[:12]}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:
            self._abandoned = True
            self._turn.notify()
        self._thread.join()

    def grown(self, size: int) -> None:
        """The file holds at least `size` bytes now."""
        with self._turn:
            self._size = size
            self._turn.notify()

    def finish(self, stop: threading.Event) -> str:
        """Wait for the rest and return the checksum in hexadecimal.

        Raises Stopped soon after `stop` is set, OSError when the file cannot be read.
        """
        with self._turn:
            self._complete = True
            self._turn.notify()
        while self._thread.is_alive():
            self._thread.join(LOOK_EVERY)
            if stop.is_set():
                raise Stopped
        if self._failure is not None:
            raise self._failure
        return self._digest.hexdigest()

    def _follow(self) -> None:
        try:
            self._read()
        except OSError as error:
            self._failure = error

    def _read(self) -> None:
        done = 0
        buffer = memoryview(bytearray(BLOCK))
        with self._path.open("rb", buffering=0) as file:
            while (size := self._more_than(done)) is not None:
                while done < size and not self._abandoned:
                    count = file.readinto(buffer[: size - done]) or 0
                    if not count:
                        raise OSError(f"{self._path} became shorter while it was read")
                    self._digest.update(buffer[:count])
                    done += count

    def _more_than(self, done: int) -> int | None:
        """The size as soon as the file is longer than `done`; None at the end of it all."""
        with self._turn:
            self._turn.wait_for(lambda: self._size > done or self._complete or self._abandoned)
            return self._size if self._size > done and not self._abandoned else None
