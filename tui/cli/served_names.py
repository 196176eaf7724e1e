"""The names under which models are served that a command line gives by their paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.models.formats.parts import find_own_name
from core.names import looks_like_path


def name_models(words: Sequence[str], model: str | None = None) -> dict[str, dict[str, object]]:
    """Tables of `[models]` for the words of `--models`: a name stands for itself, a path gets its own name as it has
    when it is the only model. Where two would be called alike, the folder's name goes first, then a number behind.
    `model` is served besides."""
    paths = {word: Path(word).expanduser() for word in words if looks_like_path(word)}
    others = [word for word in (*words, *([model] if model else [])) if word not in paths]
    known = Counter(_own_name(Path(word)) if looks_like_path(word) else word for word in others)
    counted = known + Counter(map(_own_name, paths.values()))
    found: dict[str, dict[str, object]] = {}
    for word in words:
        if (path := paths.get(word)) is None:
            found[word] = {}
            continue
        name = _own_name(path)
        if counted[name] > 1 and (folder := path.absolute().parent.name):
            name = f"{folder}-{name}"
        found[_free_name(name, {**known, **found})] = {"source": word}
    return found


def _own_name(path: Path) -> str:
    whole = path.resolve() if path.name in ("", "..") else path
    return find_own_name(whole, folder=whole.is_dir())


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
