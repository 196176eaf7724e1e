"""Looks into model files and keeps the findings, so that an unchanged file is not opened a second time."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from core.contract.artifact import FormatName
from core.foreign_text import make_encodable
from core.kept import keep_value, load_kept
from core.models.formats.detect import detect_format
from core.models.formats.hf_config import MOST_CONFIG_BYTES, Config
from core.models.formats.registry import load_formats
from core.models.formats.source import Damaged
from core.telemetry.log import get_logger

INDEX_VERSION = 3
"""Of the findings; those that another version kept are forgotten."""
log = get_logger(__name__)


class Seen(Struct, frozen=True):
    """What one `stat` tells of a file."""

    size: int
    modified: int
    """Nanoseconds since the epoch."""
    used: float
    """When the file was last read, in seconds since the epoch, as far as the file system says."""


class Finding(Struct, frozen=True):
    """What is in a file."""

    format: FormatName | None = None
    """None where the file is damaged."""
    problem: str | None = None
    """Why the file cannot be loaded, as the end of a sentence."""
    label: str | None = None
    """Of a config.json: the label of the weights beside it, as users write it behind the colon."""
    kind: str = ""
    """Of a config.json: the model's type."""
    head: str = ""
    """Of a config.json: the class of the model, as transformers calls it."""


class _KeptFile(Struct, array_like=True):
    size: int
    modified: int
    finding: Finding


class _Memory(Struct, array_like=True):
    version: int
    formats: tuple[FormatName, ...]
    """The formats that were known then; with further ones, a file may be found to be of another."""
    files: dict[str, _KeptFile]


class Inspector:
    """Looks into files, and keeps the findings in the file `memory` where one is given."""

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._kept = _read(memory) if memory is not None else {}
        self._fresh: dict[str, _KeptFile] = {}
        self.opened = 0
        """Files that were opened, because they were new or had changed."""

    def look(self, path: Path, seen: Seen) -> Finding:
        """The finding for a model's file or a config.json; a file that is damaged or cannot be read raises nothing."""
        key = str(path)
        kept = self._kept.get(key)
        if kept is None or (kept.size, kept.modified) != (seen.size, seen.modified):
            self.opened += 1
            kept = _KeptFile(seen.size, seen.modified, _inspect(path))
        self._fresh[key] = kept
        return kept.finding

    def save(self) -> None:
        """Keep the findings since this Inspector was made, and forget all others; where that fails, nothing is lost."""
        if self._memory is None or self._fresh == self._kept:
            return
        # Names that are not UTF-8 cannot be written; their files are looked into again each time.
        written = {path: kept for path, kept in self._fresh.items() if make_encodable(path) == path}
        keep_value(self._memory, _Memory(INDEX_VERSION, load_formats().names, written), "msgpack")
        self._kept = dict(self._fresh)


def see_file(found: os.stat_result) -> Seen:
    return Seen(found.st_size, found.st_mtime_ns, found.st_atime)


def _inspect(path: Path) -> Finding:
    try:
        if path.name == "config.json":
            return _config(path)
        formats = load_formats()
        part = next((each for each in formats if each.checked_ending == path.suffix and not each.patterns), None)
        format_ = part.name if part is not None else detect_format(path)
        if (known := formats.get(format_)) is not None:
            formats.ask(known, None, known.check_file, path)
    except Damaged as error:
        return Finding(problem=f"damaged: {error}")
    except OSError as error:
        return Finding(problem=error.strerror or str(error))
    return Finding(format_)


def _config(path: Path) -> Finding:
    from core.models.formats.hf_config import find_label

    with path.open("rb") as file:
        config = Config(file.read(MOST_CONFIG_BYTES))
    return Finding(label=find_label(config), kind=config.architecture, head=config.head)


def _read(memory: Path) -> dict[str, _KeptFile]:
    kept = load_kept(memory, _Memory, "msgpack")
    if kept is None or (kept.version, kept.formats) != (INDEX_VERSION, load_formats().names):
        return {}
    return kept.files
