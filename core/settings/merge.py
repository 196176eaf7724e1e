"""Merging the sources of settings, later ones winning, with a record of where each value came from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum

from msgspec import Struct

Key = tuple[str, ...]
"""`("server", "port")`, `("models", "qwen", "sampling", "top_k")`."""
Tree = Mapping[str, object]
"""Sections of settings: values that are themselves mappings are tables, all others are settings."""


class OriginKind(IntEnum):
    """Where a value can come from; the greater wins."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    FLAG = 3


class Origin(Struct, frozen=True):
    kind: OriginKind
    name: str = ""
    """The file's path, the variable's name; empty for defaults and flags."""


DEFAULT = Origin(OriginKind.DEFAULT)


class SettingsSource(Struct, frozen=True):
    kind: OriginKind
    values: Tree
    name: str = ""
    """Of the whole source, for values that are not in `names`."""
    names: Mapping[Key, str] = {}
    """The names of single values, as environment variables have them."""

    def origin(self, key: Key) -> Origin:
        return Origin(self.kind, self.names.get(key, self.name))


class Merged(Struct, frozen=True):
    values: dict[str, object]
    origins: dict[Key, Origin]
    """Of every value that a source gave; a key that is missing has its default."""

    def origin(self, key: Key) -> Origin:
        return self.origins.get(key, DEFAULT)


def merge_sources(sources: Sequence[SettingsSource]) -> Merged:
    """Tables are merged key by key, everything else is replaced; None is "not given". Later sources win."""
    merged = Merged({}, {})
    for source in sources:
        for key, value in _leaves(source.values):
            if isinstance(value, Mapping):
                _table(merged.values, key)
            elif value is not None:
                _table(merged.values, key[:-1])[key[-1]] = value
                merged.origins[key] = source.origin(key)
    return merged


def drop_overruled(merged: Merged, shared: Mapping[str, Key]) -> Merged:
    """Without the values of single models that a stronger source sets for all of them.

    `shared` tells, for a key of `[models.NAME]`, the setting that holds for all models: a flag beats what the file
    says of one model, as it beats the rest of the file.
    """
    weaker = {
        key
        for key, origin in merged.origins.items()
        if len(key) == 3
        and key[0] == "models"
        and key[2] in shared
        and origin.kind < merged.origin(shared[key[2]]).kind
    }
    kept = Merged({}, {key: origin for key, origin in merged.origins.items() if key not in weaker})
    for key, value in _leaves(merged.values):
        if isinstance(value, Mapping):
            _table(kept.values, key)
        elif key not in weaker:
            _table(kept.values, key[:-1])[key[-1]] = value
    return kept


def _leaves(tree: Tree, before: Key = ()) -> Iterator[tuple[Key, object]]:
    """Every value, and every table before what it holds, so that empty ones are seen too."""
    for name, value in tree.items():
        key = (*before, name)
        yield key, value
        if isinstance(value, Mapping):
            yield from _leaves(value, key)


def _table(root: dict[str, object], path: Iterable[str]) -> dict[str, object]:
    """The table at `path`, made where it is missing; a plain value in its place is replaced."""
    table = root
    for name in path:
        inner = table.get(name)
        if not isinstance(inner, dict):
            inner = table[name] = {}
        table = inner
    return table
