"""The catalog: short names for models, and where each can be had in which format.

`catalog.toml` beside this file holds it. Its repositories were checked against public documentation and source, not
against the Hub itself.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from core.contract.artifact import FormatName
from core.names import Alias, HubName, parse_name

FILE: Final = Path(__file__).with_name("catalog.toml")


class Task(Enum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    SPEECH = "speech"


class Width(Enum):
    """A width of weights, which each format has under a label of its own: see `core.models.hub.choose_quant`."""

    FOUR = "4bit"
    EIGHT = "8bit"
    HALF = "fp16"


Offer = str | dict[Width, str]
"""A repository with every width, or a name for each that can be had."""


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An entry of the file."""

    title: Annotated[str, Meta(min_length=1)]
    task: Task = Task.CHAT
    parameters: Annotated[float, Meta(gt=0)]
    """In billions."""
    licence: Annotated[str, Meta(min_length=1)]
    default: Width = Width.FOUR
    """The variant that the bare alias means."""
    starter: bool = False
    """Whether it is named to people who have no model yet."""
    gguf: Offer | None = None
    mlx: Offer | None = None
    onnx: Offer | None = None
    mnn: Offer | None = None
    whisper: Offer | None = None


class CatalogSource(Struct, frozen=True):
    """Where a model can be had in one format."""

    format: FormatName
    name: HubName


class CatalogEntry(Struct, frozen=True):
    """A model of the catalog."""

    alias: str
    title: str
    task: Task
    parameters: int
    licence: str
    default: Width
    offers: tuple[tuple[FormatName, Offer], ...]
    starter: bool = False
    """Whether it is named to people who have no model yet."""

    @property
    def formats(self) -> tuple[FormatName, ...]:
        return tuple(format_ for format_, _ in self.offers)

    def sources(self, variant: str | None = None) -> tuple[CatalogSource, ...]:
        """Where a variant can be had: the default, a width, or a quant that only repositories with several have."""
        wanted = variant or self.default.value
        found = ((format_, _named(offer, wanted)) for format_, offer in self.offers)
        return tuple(CatalogSource(format_, name) for format_, name in found if name is not None)

    @property
    def variants(self) -> tuple[Width, ...]:
        """The widths that can be had in some format."""
        return tuple(width for width in Width if self.sources(width.value))


class Catalog:
    """Finds models by their aliases, in whatever case they are written."""

    def __init__(self, entries: Iterable[CatalogEntry]) -> None:
        self._entries = {entry.alias: entry for entry in entries}

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    @cached_property
    def aliases(self) -> frozenset[str]:
        return frozenset(self._entries)

    def find(self, alias: str) -> CatalogEntry | None:
        """The entry of an alias, with or without a variant."""
        name = parse_name(alias, self.aliases) if alias.strip() else None
        return self._entries[name.alias] if isinstance(name, Alias) else None

    def nearest(self, text: str, others: Collection[str] = ()) -> tuple[str, ...]:
        """The three names nearest to what was written, among the aliases and `others`; the likeliest first."""
        wanted = text.lower()
        names = {name.lower(): name for name in (*self._entries, *others)}
        close = difflib.get_close_matches(wanted, names, 3, 0.6)
        longer = [name for name in names if name.startswith(wanted)] if len(wanted) > 1 else []
        return tuple(names[name] for name in dict.fromkeys((*close, *longer)))[:3]


def decode_catalog(text: str) -> Catalog:
    """A catalog from its file's content. Raises msgspec.ValidationError, TOMLDecodeError, and ModelNotFound for what
    cannot be a repository's name."""
    rows = msgspec.convert(tomllib.loads(text), dict[str, Row])
    return Catalog(_entry(alias, row) for alias, row in rows.items())


@cache
def load_builtin_catalog() -> Catalog:
    """The catalog that the package carries."""
    return decode_catalog(FILE.read_text(encoding="utf-8"))


def _entry(alias: str, row: Row) -> CatalogEntry:
    onnx = {Task.CHAT: "onnx", Task.RERANK: "onnx-reranker"}.get(row.task, "onnx-embedder")
    offers: Mapping[FormatName, Offer | None] = {
        "gguf": row.gguf,
        "mlx": row.mlx,
        onnx: row.onnx,
        "mnn": row.mnn,
        "ggml-whisper": row.whisper,
    }
    kept = tuple((format_, offer) for format_, offer in offers.items() if offer is not None)
    parameters = round(row.parameters * 1_000_000_000)
    return CatalogEntry(alias, row.title, row.task, parameters, row.licence, row.default, kept, row.starter)


def _named(offer: Offer, variant: str) -> HubName | None:
    """Where an offer has a variant; of several repositories, only for the widths that are listed."""
    if isinstance(offer, str):
        return HubName(offer, label=variant)
    listed = next((name for width, name in offer.items() if width.value == variant.lower()), None)
    name = parse_name(listed) if listed is not None else None
    return name if isinstance(name, HubName) else None
