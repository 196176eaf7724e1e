"""`tui list`: the models on this machine, or those of the catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from rich import box
from rich.table import Table

from core.errors import ModelNotFound
from core.foreign_text import make_printable
from core.models.catalog import CatalogEntry, load_builtin_catalog
from core.models.library.scan import LibraryEntry, Location
from core.models.resolve import read_own
from core.names import Unknown
from core.settings.load import load_settings
from core.sizes import format_size
from core.workbench import Workbench
from tui import format as fmt
from tui.cli.arguments import Arguments, Misunderstood
from tui.cli.console import Paper
from tui.cli.output import write_json


class Listed(Struct, frozen=True):
    """A model on this machine, as `--json` tells it."""

    name: str
    short: str | None
    """Another name that may be typed for the model; null where there is none."""
    format: str | None
    size: int
    location: str
    path: str
    used: str | None
    """ISO 8601, with the offset of the zone."""
    engines: tuple[str, ...]
    problem: str | None


class Offered(Struct, frozen=True):
    """A model of the catalog, as `--json` tells it."""

    name: str
    title: str
    task: str
    parameters: int
    licence: str
    formats: tuple[str, ...]
    variants: tuple[str, ...]
    repositories: tuple[str, ...]
    """Of the default variant."""


def run_list(given: Arguments) -> int:
    """Print the list on stdout. Raises BenchtopError, and Misunderstood for a word that is not `models`."""
    if given.what not in (None, "models"):
        raise Misunderstood(f"{given.what!r} is one too many; write `tui list [models] [options]`.")
    if given.catalog or given.what:
        return _print(
            [_offered(entry) for entry in load_builtin_catalog()],
            build_catalog_table(load_builtin_catalog()),
            given.json,
        )
    settings = load_settings(config_file=given.config)
    store = Workbench(settings).models.store
    entries = (*store.library(), *store.ask_servers())
    shorts = shorten_paths(entries, {name for name in settings.models if settings.source(name) != name})
    return _print([_listed(entry, shorts) for entry in entries], build_table(entries, shorts), given.json)


def shorten_paths(entries: Iterable[LibraryEntry], configured: Collection[str]) -> dict[Path, str]:
    """What may be typed for the models that are listed by their paths: the short name, where nothing else has it."""
    found: dict[str, dict[Path, Path]] = {}
    for entry in entries:
        if entry.location in (Location.FOLDER, Location.FILE, Location.HERE):
            found.setdefault(entry.short, {})[entry.path.resolve()] = entry.path
    free = (name for name, paths in found.items() if len(paths) == 1 and name not in configured and _is_free(name))
    return {path: name for name in free for path in found[name].values()}


def _is_free(name: str) -> bool:
    try:
        return isinstance(read_own(name), Unknown)
    except ModelNotFound:
        return False


def build_table(entries: Iterable[LibraryEntry], shorts: Mapping[Path, str] = {}) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("format", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("used", no_wrap=True)
    table.add_column("runs with", overflow="fold")
    for entry in entries:
        kind = entry.format or ""
        used = _when(entry).partition("T")[0]
        told = make_printable(entry.problem or ", ".join(entry.engines))
        style = "red" if entry.problem else None
        short = shorts.get(entry.path)
        called = "\n".join(make_printable(name) for name in (short, entry.name) if name is not None)
        table.add_row(called, kind, format_size(entry.size) if entry.size else "", used, told, style=style)
    return table


def build_catalog_table(entries: Iterable[CatalogEntry]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("for", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("formats", overflow="fold")
    table.add_column("licence", overflow="fold")
    for entry in entries:
        formats = " ".join(_short(format_) for format_ in entry.formats)
        table.add_row(entry.alias, entry.task.value, fmt.shorten_count(entry.parameters), formats, entry.licence)
    return table


def _print(rows: Sequence[Listed] | Sequence[Offered], table: Table, as_json: bool) -> int:
    if as_json:
        write_json(rows)
    else:
        Paper().print(table)
    return 0


def _listed(entry: LibraryEntry, shorts: Mapping[Path, str]) -> Listed:
    return Listed(
        name=entry.name,
        short=shorts.get(entry.path),
        format=entry.format or None,
        size=entry.size,
        location=entry.location.value,
        path=str(entry.path),
        used=_when(entry) or None,
        engines=entry.engines,
        problem=entry.problem,
    )


def _offered(entry: CatalogEntry) -> Offered:
    return Offered(
        name=entry.alias,
        title=entry.title,
        task=entry.task.value,
        parameters=entry.parameters,
        licence=entry.licence,
        formats=tuple(_short(format_) for format_ in entry.formats),
        variants=tuple(width.value for width in entry.variants),
        repositories=tuple(str(source.name) for source in entry.sources()),
    )


def _when(entry: LibraryEntry) -> str:
    return datetime.fromtimestamp(entry.used).astimezone().isoformat(timespec="seconds") if entry.used else ""


def _short(name: str) -> str:
    """A format as it is called in the catalog."""
    return name.removeprefix("ggml-").removesuffix("-embedder").removesuffix("-reranker")
