"""Models that are split into several files, and the name of a model by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from core.foreign_text import make_encodable

MOST_PARTS: Final = 10_000


def find_own_name(path: Path, *, folder: bool = False) -> str:
    """The name of the model at a path: that of the file without its ending and part number, or that of the folder.
    Bytes that are not UTF-8 become escapes, since the name goes into JSON and logs."""
    if folder:
        return make_encodable(path.name)
    part = _part(path)
    return make_encodable(path.name[: part[0]] if part else path.stem or str(path))


def list_parts(path: Path) -> tuple[Path, ...]:
    """All parts of the split model that `path` is a part of, by their names; `path` alone where it is not split.

    Their names are given whether they are there or not.
    """
    part = _part(path)
    if part is None:
        return (path,)
    end, count = part
    stem, ending = path.name[:end], path.name[-5:]
    return tuple(path.with_name(f"{stem}-{number:05}-of-{count:05}{ending}") for number in range(1, count + 1))


def _part(path: Path) -> tuple[int, int] | None:
    """Where the name of a part ends that all parts share, and how many parts there are; None for another file."""
    if "-of-" not in path.name:
        return None
    from core.names import SPLIT

    found = SPLIT.search(path.name)
    return (found.start(), min(int(found[2]), MOST_PARTS)) if found else None
