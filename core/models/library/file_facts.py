"""What the files of a model tell of it, for lists of models: read once, and anew when they have changed."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from typing import Final

from msgspec import Struct

from core.contract.artifact import NO_FILES, Artifact
from core.errors import ArtifactError
from core.models.formats.header import Header
from core.models.formats.read import read_header, read_template

MOST_KNOWN_MODELS: Final = 512
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class FileFacts(Struct, frozen=True):
    digest: str
    """64 hexadecimal digits: the SHA-256 of a file that the Hub told, else that of its path, size and time."""
    modified: float | None = None
    """Seconds since the epoch."""
    header: Header | None = None
    """None where there are no files, and where they are damaged."""
    template: str | None = None
    """The Jinja source of the chat template that came with it."""


class FactShelf:
    """Remembers the models that it was asked for last. Touches the disk; several threads may ask, and may then read a
    file twice."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, FileFacts] = OrderedDict()

    def examine(self, artifact: Artifact) -> FileFacts:
        if artifact.format in NO_FILES:
            return FileFacts(_digest(f"{artifact.format}:{artifact.url or artifact.name}"))
        try:
            path = artifact.path.resolve()
            seen = path.stat()
        except OSError:
            return FileFacts(_digest(str(artifact.path)))
        state = f"{path}:{artifact.size}:{seen.st_mtime_ns}"
        if (known := self._known.get(state)) is not None:
            return known
        try:
            header = read_header(artifact)
        except ArtifactError:
            header = None
        digest = path.name if _SHA256.fullmatch(path.name) else _digest(state)
        found = FileFacts(digest, seen.st_mtime, header, read_template(artifact))
        self._known[state] = found
        while len(self._known) > MOST_KNOWN_MODELS:
            self._known.popitem(last=False)
        return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
