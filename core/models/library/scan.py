"""The models on this machine: built-in, in the Hub's cache, in the settings' folders, in the current folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import FormatName
from core.errors import BenchtopError
from core.models.formats.file_index import Inspector, see_file
from core.models.formats.parts import find_own_name, list_parts
from core.models.formats.registry import load_formats
from core.models.hub.cache import (
    CachedSnapshot,
    build_artifact,
    build_repo_folder,
    find_absent,
    find_cache_folder,
    list_quants,
    list_repositories,
    list_snapshots,
    read_snapshot,
)
from core.models.hub.endpoint import measure_file
from core.models.hub.repository import Quant, RepoFile
from core.models.resolve import resolve_name
from core.names import BUILT_IN, BuiltIn

if TYPE_CHECKING:
    from core.settings.schema import Folders, LibrarySettings

PARTIAL: Final = "*.incomplete"
"""The name of a blob that was not fetched whole, as huggingface_hub gives it."""
WORTH_TELLING_BYTES: Final = 1_000_000
"""Bytes from which a repository is listed although nothing in it can be run."""


class Location(Enum):
    """Where a model comes from."""

    BUILT_IN = "built in"
    HERE = "this folder"
    FOLDER = "folder"
    FILE = "file"
    """Named in the settings by itself."""
    HUB = "hub"
    SERVER = "server"


class LibraryEntry(Struct, frozen=True):
    """A model on disk."""

    name: str
    """The name to load it by."""
    path: Path
    format: FormatName | None
    """None when the file is damaged."""
    size: int
    """Bytes."""
    loaded: bool
    problem: str | None = None
    """Why it cannot be loaded."""
    location: Location = Location.HERE
    files: tuple[Path, ...] = ()
    """All files of the model, where there are more than `path`."""
    used: float | None = None
    """When it was last read, in seconds since the epoch, as far as the file system says."""
    engines: tuple[str, ...] = ()
    """The engines that run here and take the model, in order of preference."""
    share: float | None = None
    """The share of an unfinished download that is here, from 0 to 1; None where that is not known."""

    @property
    def short(self) -> str:
        """The name by which a client asks for it: of a path, the last part."""
        if self.name != str(self.path):
            return self.name
        return find_own_name(self.path, folder=bool(self.files) and self.path not in self.files)


class Library:
    """Finds the models of one user. Touches the disk: one `stat` a file, and files are opened only when new."""

    def __init__(
        self,
        here: Iterable[Path] = (),
        folders: Iterable[Path] = (),
        cache: Path | None = None,
        memory: Path | None = None,
        takers: Mapping[FormatName, tuple[str, ...]] | None = None,
        downloads: Path | None = None,
        files: Iterable[Path] = (),
    ) -> None:
        """`here`: folders of which only the files themselves count. `folders`: searched with all below them. `files`:
        models that lie elsewhere. `cache`: the Hub's. `memory`: where to keep what was seen of files. `takers`: the
        engines, by what they take.
        `downloads`: where the list of downloads is kept, so that none of them is deleted from below it."""
        self.here = tuple(here)
        self.folders = tuple(folder.expanduser() for folder in folders)
        self.files = tuple(file.expanduser() for file in files)
        self.cache = cache.resolve() if cache is not None else None
        self.downloads = downloads
        self._memory = memory
        self._takers = takers or {}

    def scan(self, loaded: Collection[Path] = (), sizes: Mapping[str, int] | None = None) -> tuple[LibraryEntry, ...]:
        """All models: built-in, the Hub's cache, the folders, this folder; damaged ones are listed with the reason.

        `loaded` holds the paths of loaded models; `sizes` the whole sizes of blobs of which only a part may be here.
        """
        inspector = Inspector(self._memory)
        found: dict[Path, LibraryEntry] = {}
        for entry in self._all(inspector, sizes or {}):
            known = entry.path if entry.location is not Location.BUILT_IN else entry.path.resolve()
            takers = self._takers.get(entry.format, ()) if entry.format is not None else ()
            found.setdefault(known, replace(entry, loaded=entry.path in loaded, engines=takers))
        inspector.save()
        return tuple(found.values())

    def names(self) -> dict[str, tuple[Path, ...]]:
        """The models of the folders and of this one, damaged ones too, by their short names: of a name that several
        have, all paths. Looks through the folders, but not into the Hub's cache, whose models go by other names."""
        inspector = Inspector(self._memory)
        found: dict[str, dict[Path, Path]] = {}
        for entry in self._in_folders(inspector):
            found.setdefault(entry.short, {}).setdefault(entry.path.resolve(), entry.path)
        return {name: tuple(paths.values()) for name, paths in found.items()}

    def _all(self, inspector: Inspector, sizes: Mapping[str, int]) -> Iterator[LibraryEntry]:
        for name in BUILT_IN:
            yield from _built_in(name)
        if self.cache is not None:
            for repo in list_repositories(self.cache):
                yield from _of_repository(self.cache, repo, inspector, sizes)
        yield from self._in_folders(inspector)

    def _in_folders(self, inspector: Inspector) -> Iterator[LibraryEntry]:
        for folder in self.folders:
            yield from _below(folder, inspector)
        for file in self.files:
            yield _single(file.absolute(), inspector)
        for folder in self.here:
            yield from _in_folder(folder, inspector)


def build_user_library(
    settings: LibrarySettings, where: Folders, takers: Mapping[FormatName, tuple[str, ...]]
) -> Library:
    """The library of the settings: the usual Hub cache, the folders named there, and the current one."""
    return Library(
        here=(Path.cwd(),),
        folders=tuple(Path(folder) for folder in settings.folders),
        files=tuple(Path(file) for file in settings.files),
        cache=find_cache_folder(),
        memory=where.cache / "library.msgpack",
        takers=takers,
        downloads=where.state / "downloads",
    )


def _built_in(name: str) -> Iterator[LibraryEntry]:
    try:
        artifact = resolve_name(BuiltIn(name))
    except BenchtopError:
        return
    yield LibraryEntry(name, artifact.path, artifact.format, artifact.size, False, location=Location.BUILT_IN)


def _in_folder(folder: Path, inspector: Inspector) -> Iterator[LibraryEntry]:
    """The model files of a folder, not of those below it; links are followed, and listed as what they lead to."""
    paths = {path.resolve() for each in load_formats() for pattern in each.patterns for path in _glob(folder, pattern)}
    for path in sorted(paths):
        parts = list_parts(path)
        if len(parts) < 2:
            yield _file(path, str(path), Location.HERE, inspector)
        elif path == next(part for part in parts if part in paths):
            yield _split(path.parent / parts[0].name, parts, inspector, Location.HERE)


def _single(path: Path, inspector: Inspector) -> LibraryEntry:
    """A model by one of its files."""
    parts = list_parts(path)
    if len(parts) > 1:
        return _split(path.parent / parts[0].name, parts, inspector, Location.FILE)
    return _file(path, str(path), Location.FILE, inspector)


def _file(path: Path, name: str, location: Location, inspector: Inspector) -> LibraryEntry:
    try:
        seen = see_file(path.stat())
    except OSError as error:
        return LibraryEntry(name, path, None, 0, False, error.strerror, location)
    finding = inspector.look(path, seen)
    return LibraryEntry(name, path, finding.format, seen.size, False, finding.problem, location, (path,), seen.used)


def _split(first: Path, parts: Sequence[Path], inspector: Inspector, location: Location) -> LibraryEntry:
    """All parts as one model; the first problem of a part is the model's."""
    there = [_file(part, str(part), location, inspector) for part in parts if part.exists()]
    missing = [part.name for part in parts if not part.exists()]
    problem = next((part.problem for part in there if part.problem), None)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        problem = f"damaged: {missing[0]}{more} of {len(parts)} parts is missing"
    used = max((part.used for part in there if part.used is not None), default=None)
    format_ = None if problem else "gguf"
    size = sum(part.size for part in there)
    files = tuple(part.path for part in there)
    return LibraryEntry(str(first), first, format_, size, False, problem, location, files, used)


def _below(folder: Path, inspector: Inspector) -> Iterator[LibraryEntry]:
    """All models of a folder and those below it, which may be files or folders themselves. Links to folders are not
    followed."""
    whole = read_snapshot(folder.name, folder.absolute())
    by_folder: dict[str, list[RepoFile]] = {}
    for file in whole.files:
        parent = file.path.rpartition("/")[0]
        by_folder.setdefault(parent, []).append(file)
    for parent, files in sorted(by_folder.items()):
        if parent.rpartition("/")[2] == "onnx":
            continue
        inside = len(parent) + 1 if parent else 0
        below = f"{parent}/onnx" if parent else "onnx"
        members = [*files, *by_folder.get(below, ())]
        part = CachedSnapshot(
            (whole.folder / parent).name,
            "",
            whole.folder / parent,
            tuple(RepoFile(file.path[inside:], file.size) for file in members),
            {file.path[inside:]: whole.seen[file.path] for file in members},
        )
        yield from _of_snapshot(part, inspector, Location.FOLDER)


def _of_repository(cache: Path, repo: str, inspector: Inspector, sizes: Mapping[str, int]) -> Iterator[LibraryEntry]:
    """The models of all commits; those of `main` go by the short name, older ones with their commit."""
    taken: set[str] = set()
    folder = build_repo_folder(cache, repo)
    for snapshot in list_snapshots(cache, repo):
        for entry in _of_snapshot(snapshot, inspector, Location.HUB):
            older = entry.name in taken
            taken.add(entry.name)
            label = entry.name.removeprefix(repo)
            yield replace(entry, name=f"{repo}@{snapshot.commit}{label}") if older else entry
    partial = {path.name.removesuffix(".incomplete"): path for path in _glob(folder / "blobs", PARTIAL)}
    yield from _partial(repo, folder, partial, sizes)


def _partial(repo: str, folder: Path, partial: Mapping[str, Path], sizes: Mapping[str, int]) -> Iterator[LibraryEntry]:
    """The unfinished downloads in a repository's cache."""
    sizes_here = {etag: size for etag, path in partial.items() if (size := measure_file(path)) >= 0}
    if not sizes_here:
        # They were finished since the folder was listed.
        return
    here = sum(sizes_here.values())
    whole = sum(sizes.get(etag.partition(".")[0], 0) for etag in sizes_here)
    share = min(1.0, here / whole) if whole else None
    said = "partial: the download is not finished" + (f" ({share:.0%})" if share is not None else "")
    files = tuple(partial[etag] for etag in sizes_here)
    yield LibraryEntry(repo, folder / "blobs", None, here, False, said, Location.HUB, files, share=share)


def _of_snapshot(snapshot: CachedSnapshot, inspector: Inspector, location: Location) -> Iterator[LibraryEntry]:
    found = list_quants(snapshot, inspector)
    for quant in found:
        yield _entry(snapshot, quant, found, inspector, location)
    yield from _incomplete(snapshot, inspector, location)
    if location is Location.HUB and not found:
        yield from _other(snapshot)


def _entry(
    snapshot: CachedSnapshot, quant: Quant, all_here: Sequence[Quant], inspector: Inspector, location: Location
) -> LibraryEntry:
    artifact = build_artifact(snapshot, quant, all_here, quant.name)
    problem = f"damaged: {missing} is missing" if (missing := find_absent(snapshot, quant)) else None
    known = load_formats().get(quant.format)
    ending = known.checked_ending if known is not None else None
    for file in quant.files:
        if problem is None and ending is not None and file.path.endswith(ending):
            problem = inspector.look(snapshot.folder / file.path, snapshot.seen[file.path]).problem
    files = tuple(snapshot.folder / file.path for file in quant.files)
    used = max(snapshot.seen[file.path].used for file in quant.files)
    name = quant.name if location is Location.HUB else str(artifact.path)
    format_ = None if problem else quant.format
    return LibraryEntry(name, artifact.path, format_, quant.size, False, problem, location, files, used)


def _incomplete(snapshot: CachedSnapshot, inspector: Inspector, location: Location) -> Iterator[LibraryEntry]:
    """Split files of which parts are missing, and links whose content was deleted."""
    split: dict[Path, tuple[Path, ...]] = {}
    for path in snapshot.seen:
        parts = list_parts(snapshot.folder / path) if path.endswith(".gguf") else ()
        if len(parts) > 1:
            split[parts[0]] = parts
    for first, parts in sorted(split.items()):
        inside = [part.relative_to(snapshot.folder).as_posix() for part in parts]
        if all(each in snapshot.seen for each in inside):
            continue
        entry = _split(first, parts, inspector, location)
        name = f"{snapshot.repo}/{inside[0]}" if location is Location.HUB else entry.name
        yield replace(entry, name=name)
    for path in snapshot.stray:
        said = "damaged: its content was deleted from the cache"
        link = snapshot.folder / path
        yield LibraryEntry(f"{snapshot.repo}/{path}", link, None, 0, False, said, location, (link,))


def _other(snapshot: CachedSnapshot) -> Iterator[LibraryEntry]:
    """A repository in the cache in which nothing can be run here."""
    size = sum(file.size for file in snapshot.files)
    if size >= WORTH_TELLING_BYTES and not any(path.endswith(".gguf") for path in snapshot.seen):
        files = tuple(snapshot.folder / file.path for file in snapshot.files)
        said = "holds nothing that can be run here"
        yield LibraryEntry(snapshot.repo, snapshot.folder, None, size, False, said, Location.HUB, files)


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return [path for path in folder.glob(pattern) if not path.is_dir()]
    except OSError:
        return []
