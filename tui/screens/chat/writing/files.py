"""The files that an `@` in a message may mean: below the working folder, or anywhere by a whole path."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.files import expand_home

MOST_SEEN_PATHS: Final = 20_000
"""Below the working folder; in a larger one, those farther down are found by the folders on the way to them."""
FRESH_SECONDS: Final = 10.0
"""After which the working folder is looked through again."""
_PASSED_OVER: Final = frozenset({"node_modules", "__pycache__"})
_FRAGMENT: Final = re.compile(r"(?:^|(?<=\s))@((?:\\ |\S)*)$")
"""A blank in a name has a backslash before it."""


class FoundPath(Struct, frozen=True):
    """A file or folder to choose."""

    text: str
    """What stands behind the `@` once it is chosen, as it is shown; of a folder with a slash at its end."""
    path: Path

    @property
    def is_folder(self) -> bool:
        return self.text.endswith("/")


def find_fragment(line: str) -> str | None:
    """What stands behind an `@` that begins a word, up to the end of `line`; None where there is no such word."""
    found = _FRAGMENT.search(line)
    return None if found is None else found[1].replace("\\ ", " ")


def write_fragment(text: str) -> str:
    """As `find_fragment` reads it."""
    return "@" + text.replace(" ", "\\ ")


class FileFinder:
    """Touches the disk, on any thread but one at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: tuple[str, ...] = ()
        self._when = float("-inf")

    def find(self, fragment: str, most: int) -> tuple[FoundPath, ...]:
        """What may be meant, the likeliest first: names that begin so, then names and paths that hold it."""
        folder, _, name = fragment.rpartition("/")
        before = f"{folder}/" if "/" in fragment else ""
        base = self.root / expand_home(before) if before else self.root
        found = {each: base / each.rstrip("/") for each in _order(_list_folder(base), name)}
        chosen = [FoundPath(before + each, path) for each, path in found.items()]
        if len(chosen) < most and fragment and not before.startswith(("/", "~", "..")):
            near = {each.text for each in chosen}
            chosen += [FoundPath(each, self.root / each) for each in self._hold(fragment) if each not in near]
        return tuple(chosen[:most])

    def _hold(self, fragment: str) -> Iterator[str]:
        if time.monotonic() - self._when > FRESH_SECONDS:
            self._seen, self._when = tuple(_walk_below(self.root)), time.monotonic()
        wanted = fragment.casefold()
        held = (each for each in self._seen if wanted in each.casefold())
        yield from sorted(held, key=lambda each: (wanted not in each.rpartition("/")[2].casefold(), len(each), each))


def _list_folder(folder: Path) -> list[str]:
    """Names, those of folders with a slash; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries if _can_be_shown(entry)]
    except (OSError, ValueError):
        return []


def _order(names: Iterable[str], begun: str) -> list[str]:
    """Those that `begun` begins, hidden ones only where it says so; folders first."""
    wanted = begun.casefold()
    fit = [
        name
        for name in names
        if name.casefold().startswith(wanted) and (begun.startswith(".") or not name.startswith("."))
    ]
    return sorted(fit, key=lambda name: (not name.endswith("/"), name.casefold(), name))


def _walk_below(root: Path) -> Iterator[str]:
    """The paths of files below a folder, the nearest first, without what is hidden."""
    folders, seen = [""], 0
    for folder in folders:
        for name in _list_folder(root / folder):
            if name.startswith(".") or name.rstrip("/") in _PASSED_OVER:
                continue
            seen += 1
            if seen > MOST_SEEN_PATHS:
                return
            path = folder + name
            if not name.endswith("/"):
                yield path
            elif not (root / path.rstrip("/")).is_symlink():
                # A link may lead back up.
                folders.append(path)


def _can_be_shown(entry: os.DirEntry[str]) -> bool:
    """What a terminal would obey, or no encoding can write, has no place in a message."""
    return entry.name.isprintable()
