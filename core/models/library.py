"""What models are on this machine: the built-in ones, and the model files in the folders that were named."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from msgspec import Struct

from core.engines.base import ArtifactFormat
from core.errors import BenchtopError
from core.models.formats import Damaged, detect
from core.models.resolve import BUILT_IN, resolve

PATTERNS = ("*.gguf", "ggml-*.bin")
"""How GGUF files and whisper files are called."""


class LibraryEntry(Struct, frozen=True):
    """A model on disk."""

    name: str
    """What to load it by."""
    path: Path
    format: ArtifactFormat | None
    """None when the file is damaged."""
    size: int
    """Bytes."""
    loaded: bool
    problem: str | None = None
    """Why it cannot be loaded."""


def scan(folders: Iterable[Path], loaded: Collection[Path]) -> tuple[LibraryEntry, ...]:
    """The built-in models, then every GGUF and ggml whisper file in `folders`; damaged files are listed as such.

    `loaded` holds the resolved paths of loaded models. Touches the disk.
    """
    entries = [entry for name in BUILT_IN if (entry := _built_in(name, loaded)) is not None]
    known = {entry.path for entry in entries}
    found = {
        path.resolve() for folder in folders if folder.is_dir() for pattern in PATTERNS for path in folder.glob(pattern)
    } - known
    return (*entries, *(_file(path, loaded) for path in sorted(found)))


def _built_in(name: str, loaded: Collection[Path]) -> LibraryEntry | None:
    try:
        artifact = resolve(name)
    except BenchtopError:
        return None
    return LibraryEntry(name, artifact.path, artifact.format, artifact.size, artifact.path in loaded)


def _file(path: Path, loaded: Collection[Path]) -> LibraryEntry:
    try:
        size = path.stat().st_size
        return LibraryEntry(str(path), path, detect(path), size, path in loaded)
    except Damaged as error:
        return LibraryEntry(str(path), path, None, size, False, f"damaged: {error}")
    except OSError as error:
        return LibraryEntry(str(path), path, None, 0, False, error.strerror)
