"""Models that are split into several files, and what a file's name calls its model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from core.foreign_text import make_encodable

MOST_PARTS: Final = 10_000


def own_name(path: Path, *, folder: bool = False) -> str:
    """What a model is called by its path: the name of a file without its ending and the number of a part, or that of
    a folder; bytes that are not UTF-8 as escapes, since a model's name goes into JSON and logs."""
    if folder:
        return make_encodable(path.name)
    part = _part(path)
    return make_encodable(path.name[: part[0]] if part else path.stem or str(path))


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of a split model of which `path` is one, as they must be called; alone where it is not split.

    Their names are given whether they are there or not.
    """
    part = _part(path)
    if part is None:
        return (path,)
    end, count = part
    stem, ending = path.name[:end], path.name[-5:]
    return tuple(path.with_name(f"{stem}-{number:05}-of-{count:05}{ending}") for number in range(1, count + 1))


def _part(path: Path) -> tuple[int, int] | None:
    """Of the name of a split model's part: where what all have in common ends, and how many there are."""
    if "-of-" not in path.name:
        return None
    from core.names import SPLIT

    found = SPLIT.search(path.name)
    return (found.start(), min(int(found[2]), MOST_PARTS)) if found else None
