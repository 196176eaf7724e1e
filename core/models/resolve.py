"""From the name a user gives to an artifact on this machine, or to the words that say how to get it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import SCRIPT, Artifact, FormatName
from core.errors import ModelNotFound, NotDownloaded, UsageError, attach_paths
from core.models.hub.choose_quant import ORDER, choose_quant
from core.models.paths import read_path, read_url
from core.names import (
    BUILT_IN,
    ECHO,
    GUIDE,
    Alias,
    AskedName,
    BuiltIn,
    HubName,
    LocalPath,
    Name,
    Server,
    Unknown,
    are_same,
    clean_name,
    parse_asked,
    parse_name,
    shorten_name,
)

if TYPE_CHECKING:
    from core.models.catalog import Catalog, CatalogEntry
    from core.models.hub.repository import Quant, Repository

__all__ = [
    "BUILT_IN",
    "ECHO",
    "GUIDE",
    "DownloadWish",
    "choose_quant",
    "find_quant",
    "list_candidates",
    "list_wishes",
    "read_asked",
    "read_own",
    "resolve_name",
    "resolve_own",
]

FORMS: Final = "guide, echo, a name of `tui list --catalog`, owner/name of the Hub, a model's path, or a server's URL"
Shelf = Callable[[], Mapping[str, Sequence[Path]]]
"""Looks for the models of the user's folders, and tells their paths by their short names."""


def _empty() -> Mapping[str, Sequence[Path]]:
    return {}


class DownloadWish(Struct, frozen=True):
    """A repository from which a name could be downloaded."""

    name: HubName
    formats: tuple[FormatName, ...]
    """The formats in which the model is wanted."""


def resolve_name(
    name: Name,
    *,
    formats: Sequence[FormatName] = ORDER,
    cache: Path | None = None,
    catalog: Catalog | None = None,
    known: Collection[str] = (),
    shelf: Shelf = _empty,
) -> Artifact:
    """The model that a name stands for, as it lies on this machine; its `others` are the same in further formats.

    `formats` are those that engines here take, in order of preference; `cache` is the Hub's, where it is not the usual
    one; `known` are further names to suggest for one that stands for nothing; `shelf` is asked for what nothing else
    knows. Raises NotDownloaded for what would have to be downloaded, ModelNotFound for what stands for nothing,
    UsageError for what two models of the shelf are called, ArtifactError for a file that is no model.
    """
    found = list_candidates(name, formats=formats, cache=cache, catalog=catalog, known=known, shelf=shelf)
    return replace(found[0], others=found[1:])


def resolve_own(
    text: str,
    *,
    formats: Sequence[FormatName] = ORDER,
    cache: Path | None = None,
    catalog: Catalog | None = None,
    known: Collection[str] = (),
    shelf: Shelf = _empty,
) -> Artifact:
    """The model that the user of this machine means. Arguments and errors are those of `resolve_name`."""
    name = read_own(text, catalog)
    return resolve_name(name, formats=formats, cache=cache, catalog=catalog, known=known, shelf=shelf)


def list_candidates(
    name: Name,
    *,
    formats: Sequence[FormatName] = ORDER,
    cache: Path | None = None,
    catalog: Catalog | None = None,
    known: Collection[str] = (),
    shelf: Shelf = _empty,
) -> tuple[Artifact, ...]:
    """All formats of a model that are on this machine, at least one. Arguments and errors are those of
    `resolve_name`."""
    match name:
        case BuiltIn(name=built_in):
            return (_built_in(built_in),)
        case LocalPath(path=path):
            return (read_path(_expanded(path)),)
        case Server(url=url):
            return (read_url(url),)
        case Unknown(text=text):
            there = shelf()
            if called := text if text in there else next((each for each in there if are_same(each, text)), None):
                return (_on_shelf(called, there[called]),)
            raise _unknown(text, catalog or _usual_catalog(), (*BUILT_IN, *known, *there, *_repositories(cache)))
    listed = list_wishes(name, catalog, formats)
    if not listed:
        raise ModelNotFound(str(name), _nowhere(name, catalog or _usual_catalog()))
    found = tuple(_in_cache(listed, str(name), cache))
    if not found:
        raise NotDownloaded(str(name), _not_here(name), tuple(wish.name.repo for wish in listed))
    return found


def read_own(text: str, catalog: Catalog | None = None) -> Name:
    """What the user of this machine means: looks at the disk for paths. Raises ModelNotFound for text that cannot name
    a model."""
    return parse_name(text, _aliases(text, catalog), _exists)


def read_asked(text: str, catalog: Catalog | None = None) -> AskedName:
    """What a client of the server means; see `core.names.parse_asked`. Raises ModelNotFound."""
    return parse_asked(text, _aliases(text, catalog))


def _aliases(text: str, catalog: Catalog | None) -> Collection[str]:
    """None for built-in models, which need no look at the catalog's file."""
    return () if clean_name(text) in BUILT_IN else (catalog or _usual_catalog()).aliases


def list_wishes(
    name: Name, catalog: Catalog | None = None, formats: Sequence[FormatName] = ORDER
) -> tuple[DownloadWish, ...]:
    """The repositories from which a name could be downloaded, the preferred format first. Empty for a name that is
    neither an alias nor of the Hub, and for a variant that no format has."""
    if isinstance(name, HubName):
        return (DownloadWish(name, (*formats, *(each for each in ORDER if each not in formats))),)
    if not isinstance(name, Alias):
        return ()
    entry = _entry(name, catalog or _usual_catalog())
    sources = [source for source in entry.sources(name.variant) if source.format in formats]
    sources.sort(key=lambda source: formats.index(source.format))
    return tuple(DownloadWish(source.name, (source.format,)) for source in sources)


def find_quant(
    name: Name,
    listed: Callable[[str, str | None], Repository],
    formats: Sequence[FormatName] = ORDER,
    catalog: Catalog | None = None,
) -> Quant:
    """The quant to download for a name. `listed` lists a repository of the Hub at a revision.

    Raises ModelNotFound for a name that is neither of the Hub nor of the catalog, and for a quant that its repositories
    do not have; and what `listed` raises.
    """
    if isinstance(name, Unknown):
        raise _unknown(name.text, catalog or _usual_catalog(), ())
    if not isinstance(name, Alias | HubName):
        raise ModelNotFound(str(name), _nothing_to_download(name))
    failure: ModelNotFound | None = None
    for wish in list_wishes(name, catalog, formats):
        try:
            return choose_quant(wish.name, listed(wish.name.repo, wish.name.revision), wish.formats)
        except ModelNotFound as error:
            failure = error
    raise failure or ModelNotFound(str(name), _nowhere(name, catalog or _usual_catalog()))


def _nothing_to_download(name: BuiltIn | LocalPath | Server) -> str:
    match name:
        case BuiltIn():
            return f"{name} comes with benchtop; there is nothing to download."
        case LocalPath():
            return f"{name} is a path on this machine; a name of the Hub is written owner/name."
        case Server():
            return f"{name} is a server's address, which is used as it is; there is nothing to download."


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ModelNotFound(path, f"There is no user whose home could be meant by {path}; check the path.") from error


def _built_in(name: str) -> Artifact:
    if name == ECHO:
        return Artifact(ECHO, SCRIPT, Path(ECHO), 0)
    from core.guide import WEIGHTS

    return read_path(WEIGHTS, GUIDE)


def _on_shelf(name: str, paths: Sequence[Path]) -> Artifact:
    """Raises UsageError where there are several."""
    with attach_paths(*paths):
        if len(paths) > 1:
            listed = " and ".join([", ".join(map(str, paths[:-1])), str(paths[-1])])
            raise UsageError(
                f"{name} is what {len(paths)} models here are called: {listed}; "
                "give the path of one, or a name of its own as [models.NAME] in the config file."
            )
        return read_path(paths[0], name)


def _in_cache(listed: Sequence[DownloadWish], name: str, cache: Path | None) -> Iterator[Artifact]:
    from core.models.hub.cache import find_cached

    for wish in listed:
        artifact = find_cached(wish.name, _cache_folder(cache), wish.formats)
        if artifact is not None:
            yield replace(artifact, name=name)


def _repositories(cache: Path | None) -> list[str]:
    from core.models.hub.cache import list_repositories

    return list_repositories(_cache_folder(cache))


def _cache_folder(cache: Path | None) -> Path:
    from core.models.hub.cache import find_cache_folder

    return (cache or find_cache_folder()).absolute()


def _entry(name: Alias, catalog: Catalog) -> CatalogEntry:
    entry = catalog.find(name.alias)
    if entry is None:
        raise ModelNotFound(str(name), f"There is no model called {name.alias} in the catalog.")
    return entry


def _not_here(name: Name) -> str:
    file = isinstance(name, HubName) and name.file is not None
    also = ", neither as a file nor in the Hub's cache" if file else ""
    return f"{name} is not on this machine{also}; `tui pull {name}` downloads it."


def _nowhere(name: Name, catalog: Catalog) -> str:
    """The sentence for a known model that has no variant in the formats asked for."""
    if not isinstance(name, Alias):
        return f"{name} cannot be run here."
    entry = _entry(name, catalog)
    widths = ", ".join(f"{entry.alias}:{width.value}" for width in entry.variants)
    return f"The catalog has no {name} that can be run here; it has {widths}."


def _unknown(name: str, catalog: Catalog, known: Collection[str]) -> ModelNotFound:
    near = catalog.nearest(name, known)
    said = f" Did you mean {' or '.join([', '.join(near[:-1]), near[-1]] if near[:-1] else near)}?" if near else ""
    return ModelNotFound(name, f"There is no model called {shorten_name(name)}; give {FORMS}.{said}")


def _usual_catalog() -> Catalog:
    from core.models.catalog import load_builtin_catalog

    return load_builtin_catalog()


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        # A name too long for a path, or the home of a user who is not known.
        return False
