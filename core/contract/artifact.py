"""What a model is as it lies on disk, or answers at an address."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

FormatName: TypeAlias = str
"""What a model is stored as: the name of a Format (`gguf`, `mlx` ...), URL or SCRIPT. Engines name those they load."""
URL: Final = "url"
"""The format of a model that a server elsewhere has loaded: no file is here."""
SCRIPT: Final = "script"
"""The format of the echo engine's scripted replies: no weights at all."""
NO_FILES: Final = frozenset({URL, SCRIPT})


class Artifact(Struct, frozen=True):
    """A model as it lies on disk (or answers at an address)."""

    name: str
    """The name users know it by; replies carry it, never the path."""
    format: FormatName
    path: Path
    size: int
    """Bytes on disk, all parts together."""
    url: str = ""
    """Where a server answers, for URL: `http://host:port/v1`, with `#model` where one was named."""
    others: tuple[Artifact, ...] = ()
    """The same model in further formats, for engines that do not take this one."""
