"""What the Hub on loopback holds: repositories, and files that need not fit into memory."""

from __future__ import annotations

import fnmatch
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

LFS_FROM = 10 * 1024 * 1024
"""Bytes from which the Hub keeps a file of any kind in large-file storage."""
LFS_KINDS = ("*.gguf", "*.safetensors", "*.bin", "*.onnx", "*.onnx_data", "*.pt", "*.npz")
POINTER_SIZE = 134
WRITE = 1 << 18

JsonObject = dict[str, object]


@dataclass(frozen=True)
class Sparse:
    """A file made as it is read: blocks that each begin with their number, so that no two places look alike."""

    size: int
    seed: int = 0
    head: bytes = b""
    """What the file begins with, for instance a real header."""

    BLOCK = 1_048_573

    def __len__(self) -> int:
        return self.size

    @cached_property
    def _body(self) -> bytes:
        return random.Random(self.seed).randbytes(self.BLOCK - 8)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        stop = min(stop, self.size)
        if start < min(stop, len(self.head)):
            yield self.head[start:stop]
            start = min(stop, len(self.head))
        while start < stop:
            number, offset = divmod(start, self.BLOCK)
            piece = (number.to_bytes(8, "big") + self._body)[offset : offset + stop - start]
            yield piece
            start += len(piece)


@dataclass(frozen=True)
class Stored:
    """A file of a repository."""

    path: str
    content: bytes | Sparse

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def lfs(self) -> bool:
        return self.size >= LFS_FROM or any(fnmatch.fnmatch(self.path, kind) for kind in LFS_KINDS)

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.read(0, self.size):
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def oid(self) -> str:
        """As git names the blob; that of the pointer file where the content is in large-file storage."""
        if self.lfs:
            text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
            return _git_blob(text.encode())
        return _git_blob(b"".join(self.read(0, self.size)))

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """In pieces of at most about a MiB."""
        if isinstance(self.content, Sparse):
            yield from self.content.read(start, stop)
            return
        for begin in range(start, stop, WRITE):
            yield self.content[begin : min(stop, begin + WRITE)]

    def listed(self) -> JsonObject:
        """As a listing of the tree tells it."""
        entry: JsonObject = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": POINTER_SIZE}
        return entry

    def sibling(self, blobs: bool) -> JsonObject:
        """As the model's information tells it, with sizes when asked for `blobs`."""
        entry: JsonObject = {"rfilename": self.path}
        if blobs:
            entry |= {"size": self.size, "blobId": self.oid}
            if self.lfs:
                entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": POINTER_SIZE}
        return entry


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Held:
    """One commit of a repository, with what the Hub knows of the whole."""

    name: str
    files: dict[str, Stored]
    commit: str
    gated: bool
    private: bool
    token: str | None
    """The one that opens it, where it is gated or private; None: any that the Hub knows."""
    task: str | None
    licence: str | None
    downloads: int
    likes: int
    tags: tuple[str, ...]
    library: str | None
    updated: str
    extra: JsonObject = field(default_factory=dict)
    """Further properties as the Hub tells them, for instance `gguf` or `safetensors`."""

    @property
    def all_tags(self) -> list[str]:
        return [
            *self.tags,
            *([self.library] if self.library and self.library not in self.tags else []),
            *([self.task] if self.task else []),
            *([f"license:{self.licence}"] if self.licence else []),
        ]

    def properties(self, blobs: bool = False) -> JsonObject:
        """All that can be asked for."""
        return {
            "author": self.name.split("/")[0],
            "cardData": {"license": self.licence} if self.licence else {},
            "createdAt": "2025-01-01T00:00:00.000Z",
            "disabled": False,
            "downloads": self.downloads,
            "gated": "manual" if self.gated else False,
            "lastModified": self.updated,
            "library_name": self.library,
            "likes": self.likes,
            "pipeline_tag": self.task,
            "private": self.private,
            "sha": self.commit,
            "siblings": [file.sibling(blobs) for file in self.files.values()],
            "tags": self.all_tags,
            "usedStorage": sum(file.size for file in self.files.values()),
            **self.extra,
        }

    def matches(self, search: str, author: str, filters: list[str], task: str) -> bool:
        """Whether a search finds it: every word in its name, every filter among its tags."""
        return (
            all(word in self.name.lower() for word in search.lower().split())
            and (not author or self.name.split("/")[0] == author)
            and set(filters) <= set(self.all_tags)
            and (not task or self.task == task)
        )
