"""Folders and files that are added to the library of models, by name of the user."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from core.settings.change import append_value
from core.settings.schema import LibrarySettings


def add_library_path(file: Path, path: Path) -> bool:
    """Name a folder or a model's file in `[library]` of a config file; whether it was not named there before. Touches
    the disk. Raises ConfigError as `append_value`."""
    return append_value(file, ("library", _choose_key(path)), shorten_home(path))


def extend_library(library: LibrarySettings, path: Path) -> LibrarySettings:
    """The settings as they would be read afterwards. Touches the disk."""
    key, text = _choose_key(path), shorten_home(path)
    named: tuple[str, ...] = getattr(library, key)
    return library if text in named or str(path) in named else replace(library, **{key: (*named, text)})


def shorten_home(path: Path) -> str:
    """As people write it: `~/models`."""
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):
        return str(path)


def _choose_key(path: Path) -> str:
    return "folders" if path.is_dir() else "files"
