"""All models one could have as one list, and which of them are shown in which order: pure, without widgets.

Fast enough for ten thousand rows a key press: what is compared was made lower case when an item was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from core.contract.artifact import FormatName
from core.models.catalog import CatalogEntry, Task
from core.models.fit.estimate import TIGHT_SHARE, Verdict
from core.models.formats.registry import load_formats
from core.models.hub.search import Found, read_parameters
from core.models.library.scan import LibraryEntry, Location
from core.reuse import CacheStats
from core.snapshots import ModelKind, ModelSnapshot, QueueStats

FOUR_BIT_BYTES: Final = 4.85 / 8
"""Bytes of a weight in Q4_K_M, the usual quant."""
BESIDE_FACTOR: Final = 1.2
"""What is needed for each byte of weights, where nothing but their size is known."""
TASKS: Final[Mapping[str, Task]] = {
    "text-generation": Task.CHAT,
    "image-text-to-text": Task.CHAT,
    "any-to-any": Task.CHAT,
    "feature-extraction": Task.EMBEDDING,
    "sentence-similarity": Task.EMBEDDING,
    "text-ranking": Task.RERANK,
    "automatic-speech-recognition": Task.SPEECH,
}
"""The Hub's words for what a model is for. The first of each task is the one that the Hub is asked for."""
TASK_OF_KIND: Final = {
    ModelKind.CHAT: Task.CHAT,
    ModelKind.EMBEDDING: Task.EMBEDDING,
    ModelKind.RERANKING: Task.RERANK,
    ModelKind.TRANSCRIPTION: Task.SPEECH,
}
"""What a model that was loaded turned out to be for."""


class Where(Enum):
    """Where a model is; the value is what the table calls it."""

    LOADED = "loaded"
    """Its file is not in the library."""
    SETTINGS = "settings"
    """It has a name and wishes of its own there."""
    BUILT_IN = "built in"
    HERE = "here"
    FOLDER = "folder"
    FILE = "file"
    CACHE = "cache"
    SERVER = "server"
    CATALOG = "catalog"
    HUB = "hub"


WHERE_OF: Final = {
    Location.BUILT_IN: Where.BUILT_IN,
    Location.HERE: Where.HERE,
    Location.FOLDER: Where.FOLDER,
    Location.FILE: Where.FILE,
    Location.HUB: Where.CACHE,
    Location.SERVER: Where.SERVER,
}


class ListSection(Enum):
    """Which part of the list is looked at."""

    ALL = "all"
    HERE = "here"
    CATALOG = "catalog"
    HUB = "hub"


class Order(Enum):
    LISTED = "listed"
    """As they come: what is here, the catalog, the Hub's answer."""
    NAME = "name"
    SIZE = "size"
    DOWNLOADS = "pulls"
    """As the Hub counts them; the downloads of this program are another thing."""
    LIKES = "likes"
    UPDATED = "updated"
    FIT = "fit"


class Item(Struct, frozen=True):
    """A row of the list."""

    key: str
    """Tells it from all others, and stays the same from one look to the next."""
    name: str
    where: Where
    formats: tuple[FormatName, ...] = ()
    size: int = 0
    """Bytes on disk; zero where it is not here."""
    parameters: int | None = None
    task: Task | None = None
    licence: str | None = None
    downloads: int | None = None
    likes: int | None = None
    updated: datetime | None = None
    gated: bool = False
    title: str = ""
    entry: LibraryEntry | None = None
    model: ModelSnapshot | None = None
    """It is loaded, or loading."""
    catalog: CatalogEntry | None = None
    found: Found | None = None
    hay: str = field(default="")
    """What words are looked for in, in lower case."""

    @property
    def here(self) -> bool:
        """Whether it can be loaded without a download."""
        return self.entry is not None or self.model is not None

    @property
    def remote(self) -> bool:
        """Whether quants of it can be chosen."""
        return self.catalog is not None or self.found is not None

    @property
    def bytes(self) -> int:
        """On disk, once all of it is there, or in the usual quant; zero where nobody knows."""
        if self.entry is not None and self.entry.share:
            return round(self.size / self.entry.share)
        return self.size or round((self.parameters or 0) * FOUR_BIT_BYTES)


class View(Struct, frozen=True):
    """What the user wants to see."""

    words: str = ""
    section: ListSection = ListSection.ALL
    order: Order = Order.LISTED
    task: Task | None = None
    format: FormatName | None = None
    licence: str | None = None
    """As the Hub spells it."""
    most_parameters: int | None = None
    """Models of which nobody knows how many they have do not pass."""
    open_only: bool = False
    """Without those whose owners want to be asked."""

    @property
    def filtered(self) -> bool:
        return bool(self.task or self.format or self.licence or self.most_parameters or self.open_only)


def pick_items(
    items: Iterable[Item], view: View, *, answered: str = "", verdicts: Mapping[str, Verdict] | None = None
) -> list[Item]:
    """The items a view shows, in its order; equal ones stay as they came.

    `answered` is what the Hub was asked: its answers to the view's own words are not doubted. `verdicts` by key, for
    the order by fit; items without one come last, as do those without the number that is sorted by.
    """
    words = view.words.lower().split()
    trusted = bool(words) and answered.lower().split() == words
    shown = [item for item in _section(items, view.section) if _has(item, words, trusted)]
    if view.filtered:
        shown = [item for item in shown if _passes(item, view)]
    if view.order is Order.LISTED:
        return shown
    rank = _sorting(view.order, verdicts or {})
    return sorted(shown, key=lambda item: (is_unusable(item), rank(item)))


def _section(items: Iterable[Item], section: ListSection) -> Iterable[Item]:
    match section:
        case ListSection.ALL:
            return items
        case ListSection.HERE:
            return (item for item in items if item.here)
        case ListSection.CATALOG:
            return (item for item in items if item.where is Where.CATALOG)
        case ListSection.HUB:
            return (item for item in items if item.where is Where.HUB)


def _has(item: Item, words: Sequence[str], trusted: bool) -> bool:
    if trusted and item.where is Where.HUB:
        return True
    hay = item.hay
    return all(word in hay for word in words)


def _passes(item: Item, view: View) -> bool:
    small = view.most_parameters is None or (
        item.parameters is not None and 0 < item.parameters <= view.most_parameters
    )
    return (
        small
        and (view.task is None or item.task is view.task)
        and (view.format is None or view.format in item.formats)
        and (view.licence is None or item.licence == view.licence)
        and not (view.open_only and item.gated)
    )


def _sorting(order: Order, verdicts: Mapping[str, Verdict]) -> Callable[[Item], tuple[bool, float | str]]:
    """Keys of which the least comes first: small, often loaded, new and fitting models."""
    ranks = list(Verdict)
    match order:
        case Order.NAME:
            return lambda item: (False, item.name.lower())
        case Order.SIZE:
            return lambda item: (not item.bytes, item.bytes)
        case Order.DOWNLOADS:
            return lambda item: (item.downloads is None, -(item.downloads or 0))
        case Order.LIKES:
            return lambda item: (item.likes is None, -(item.likes or 0))
        case Order.UPDATED:
            return lambda item: (item.updated is None, -item.updated.timestamp() if item.updated else 0.0)
        case Order.FIT:
            return lambda item: (
                item.key not in verdicts,
                ranks.index(verdicts[item.key]) if item.key in verdicts else 0,
            )
        case Order.LISTED:
            return lambda _: (False, 0.0)


def guess_verdict(item: Item, free: int) -> Verdict | None:
    """Whether a model is likely to fit into `free` bytes, told by its size alone; None where that is not known."""
    if not item.bytes or free <= 0:
        return None
    needed = item.bytes * BESIDE_FACTOR
    return Verdict.FITS if needed <= free * TIGHT_SHARE else Verdict.TIGHT if needed <= free else Verdict.DOES_NOT_FIT


# From what the core tells to items.


def build_library_item(entry: LibraryEntry, model: ModelSnapshot | None, known: CatalogEntry | None = None) -> Item:
    """`known`: what the catalog has about its repository."""
    name = entry.short
    formats = (entry.format,) if entry.format is not None else ()
    counted = (model.parameters or None) if model is not None else None
    return Item(
        key=f"here:{entry.name}",
        name=name,
        where=WHERE_OF[entry.location],
        formats=formats,
        size=entry.size,
        parameters=counted or (known.parameters if known else None) or read_parameters(name),
        task=known.task if known is not None else TASK_OF_KIND[model.kind] if model else _task_of(entry.format),
        licence=known.licence if known is not None else None,
        updated=datetime.fromtimestamp(entry.used).astimezone() if entry.used else None,
        title=known.title if known is not None else "",
        entry=entry,
        model=model,
        hay=" ".join((entry.name, *formats, known.title if known else "")).lower(),
    )


def build_settings_item(entry: LibraryEntry, model: ModelSnapshot | None) -> Item:
    """A model of the settings, under its name there."""
    return replace(
        build_library_item(entry, model), key=f"settings:{entry.name}", name=entry.name, where=Where.SETTINGS
    )


def build_model_item(model: ModelSnapshot) -> Item:
    """A loaded model whose file is not in the library."""
    parameters = model.parameters or None
    return Item(
        f"loaded:{model.name}", model.name, Where.LOADED, (), model.weight_bytes, parameters, TASK_OF_KIND[model.kind],
        model=model, hay=f"{model.name} {model.engine}".lower(),
    )  # fmt: skip


def build_catalog_item(entry: CatalogEntry, model: ModelSnapshot | None = None) -> Item:
    names = (entry.alias, entry.title, *(source.name.repo for source in entry.sources()))
    return Item(
        key=f"catalog:{entry.alias}",
        name=entry.alias,
        where=Where.CATALOG,
        formats=entry.formats,
        parameters=entry.parameters,
        task=entry.task,
        licence=entry.licence,
        title=entry.title,
        catalog=entry,
        model=model,
        hay=" ".join((*names, entry.task.value, *entry.formats)).lower(),
    )


def build_found_item(found: Found) -> Item:
    words = (found.id, found.task or "", *found.formats)
    return Item(
        key=f"hub:{found.id}",
        name=found.id,
        where=Where.HUB,
        formats=found.formats,
        parameters=found.parameters,
        task=TASKS.get(found.task or ""),
        licence=found.licence,
        downloads=found.downloads,
        likes=found.likes,
        updated=found.updated,
        gated=found.gated,
        found=found,
        hay=" ".join(words).lower(),
    )


def drop_traffic(model: ModelSnapshot) -> ModelSnapshot:
    """Without what changes by itself and is not told here, so that a list is drawn again where something changed."""
    return replace(
        model,
        queue=QueueStats(),
        cache=CacheStats(),
        requests=(),
        kv_cells_used=0,
        decode_rate=0.0,
        prefill_rate=0.0,
        in_use=0,
        idle=0.0,
    )


def list_items(
    entries: Iterable[LibraryEntry],
    models: Iterable[ModelSnapshot],
    catalog: Iterable[CatalogEntry],
    found: Iterable[Found] = (),
    configured: Iterable[LibraryEntry] = (),
) -> tuple[Item, ...]:
    """Everything there is, each loaded model beside the name or file or alias it was made of. Of the `configured` ones
    those come first that are not in the library under the same name; damaged files are the last of what is here."""
    entries = tuple(entries)
    listed = tuple(catalog)
    repos = {source.name.repo.lower(): entry for entry in listed for source in entry.sources()}
    left = {model.name: model for model in models}
    there = {(entry.name, entry.path) for entry in entries}
    own = [
        build_settings_item(entry, left.pop(entry.name, None))
        for entry in configured
        if (entry.name, entry.path) not in there
    ]
    here = []
    for entry in entries:
        model = next((left.pop(each) for each in (entry.name, entry.short, entry.path.stem) if each in left), None)
        here.append(build_library_item(entry, model, repos.get(find_repo(entry).lower())))
    here.sort(key=is_unusable)
    named = [build_catalog_item(entry, left.pop(entry.alias, None)) for entry in listed]
    elsewhere = [build_model_item(model) for model in left.values()]
    return (*own, *here, *elsewhere, *named, *(build_found_item(each) for each in found))


def find_repo(entry: LibraryEntry) -> str:
    """`owner/name` of a model in the Hub's cache; empty for others."""
    if entry.location is not Location.HUB:
        return ""
    return "/".join(entry.name.partition(":")[0].partition("@")[0].split("/")[:2])


def is_unusable(item: Item) -> bool:
    """Whether it is damaged or gone: such models come behind those that can be loaded, or fetched to their end."""
    return item.model is None and item.entry is not None and bool(item.entry.problem) and not is_partial(item.entry)


def is_partial(entry: LibraryEntry) -> bool:
    """Whether it is what there is of an unfinished download."""
    return entry.problem is not None and entry.problem.startswith("partial")


def _task_of(format_: FormatName | None) -> Task | None:
    """What models of a format are for mostly; nothing tells it of a file."""
    known = load_formats().get(format_) if format_ is not None else None
    return known.task if known is not None else None
