"""Reads the beginning of a file, which lies here or elsewhere, in pieces."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from core.sizes import format_size

FIRST_BYTES: Final = 1 << 20
"""Bytes fetched first; each further fetch takes twice as many as the one before, up to LARGEST_BYTES."""
LARGEST_BYTES: Final = 8 << 20
MOST_HEADER_BYTES: Final = 64_000_000
"""Bytes a header may take all in all; the longest in use (tokenizers of a quarter million words) take a fifth of it."""
U64: Final = struct.Struct("<Q")


class Damaged(Exception):
    """A file is damaged; the message says how, as the end of a sentence."""


class ByteSource(Protocol):
    """A file that can be read in parts."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end. Raises OSError for a file here, HubError for one elsewhere."""
        ...


class Files(Protocol):
    """A folder of files, here or elsewhere."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each, by its path with forward slashes."""
        ...

    def open(self, path: str) -> ByteSource: ...


class FileSource:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def read(self, start: int, length: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(length)


class FolderFiles:
    """Files below a folder on this machine, all or those that are named."""

    def __init__(self, root: Path, names: tuple[str, ...] | None = None) -> None:
        self._root = root
        paths = [root / name for name in names] if names is not None else [*root.rglob("*")]
        self.sizes: Mapping[str, int] = {
            path.relative_to(root).as_posix(): path.stat().st_size for path in sorted(paths) if path.is_file()
        }

    def open(self, path: str) -> ByteSource:
        return FileSource(self._root / path)


class Cursor:
    """Reads a source from its beginning in growing pieces, and keeps the last piece alone."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._piece = b""
        self._start = 0
        """Where the piece begins in the source."""
        self._at = 0
        """Offset in the piece; lies beyond its end where bytes were skipped."""
        self._fetched = 0
        self._step = FIRST_BYTES

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def left(self) -> int:
        """Bytes of the source that follow."""
        return self._source.size - self.position

    def take(self, length: int) -> bytes:
        """The next bytes. Raises Damaged where there are fewer."""
        if self._at + length > len(self._piece):
            self._fetch(length)
        self._at += length
        return self._piece[self._at - length : self._at]

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def skip(self, length: int) -> None:
        """Skip bytes without fetching them. Raises Damaged where there are fewer."""
        if length > self.left:
            raise Damaged("it ends within its header")
        self._at += length

    def skip_texts(self, count: int, longest: int) -> None:
        """Skip `count` texts; each is a length of 64 bits and its bytes."""
        for _ in range(count):
            if self._at + 8 > len(self._piece):
                self._fetch(8)
            (length,) = U64.unpack_from(self._piece, self._at)
            if length > longest:
                raise Damaged(f"a text in its header claims {length} bytes")
            self._at += 8 + length

    def _fetch(self, length: int) -> None:
        position = self.position
        if length > self._source.size - position:
            raise Damaged("it ends within its header")
        kept = self._piece[self._at :]
        wanted = max(self._step, length) - len(kept)
        self._fetched += wanted
        if self._fetched > MOST_HEADER_BYTES:
            raise Damaged(f"its header is longer than {format_size(MOST_HEADER_BYTES)}")
        self._piece = kept + self._source.read(position + len(kept), wanted)
        self._start, self._at = position, 0
        self._step = min(LARGEST_BYTES, self._step * 2)
        if len(self._piece) < length:
            raise Damaged("it ends within its header")
