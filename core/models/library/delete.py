"""Deleting models in the Hub's cache and the user's folders; files that other models share stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from core.errors import ArtifactError, ModelNotFound, UsageError
from core.models.downloads.discard import remove_file
from core.models.library.delete_cached import delete_cached, is_inside, list_shared
from core.models.library.scan import Library, LibraryEntry, Location
from core.models.resolve import list_candidates, read_own
from core.names import Alias, HubName, LocalPath, Unknown


def find_entry(name: str, entries: Sequence[LibraryEntry], cache: Path | None = None) -> LibraryEntry:
    """The one entry of a library that a name stands for: its own name, an alias, a repository, a path, the short
    name of one in a folder.

    Raises ModelNotFound when there is none, UsageError when there are several.
    """
    found = [entry for entry in entries if entry.name == name] or _understood(name, entries, cache)
    if len(found) > 1:
        listed = ", ".join(entry.name for entry in found)
        raise UsageError(f"{name} stands for several models here; name one of {listed}.")
    if not found:
        raise ModelNotFound(name, f"There is no model {name} on this machine; `tui list` tells what there is.")
    return found[0]


def delete_model(library: Library, entry: LibraryEntry) -> int:
    """Delete a model's files and return the bytes that became free; what another model shares with it stays.

    Raises UsageError for what is not ours to delete, DownloadError for what is being downloaded, ArtifactError when it
    cannot be done.
    """
    check_deletable(library, entry)
    try:
        if entry.location is Location.HUB and library.cache is not None:
            return delete_cached(library.cache, entry, library.downloads)
        return _from_folders(library.folders, entry)
    except OSError as error:
        raise ArtifactError(entry.name, f"{entry.name} could not be deleted: {error.strerror or error}.") from error


def check_deletable(library: Library, entry: LibraryEntry) -> None:
    """Raises UsageError for a model that is not ours to delete, wherever it lies."""
    if entry.location is Location.FOLDER or (entry.location is Location.HUB and library.cache is not None):
        return
    where = {
        Location.BUILT_IN: "belongs to the program",
        Location.SERVER: "is on a server",
    }.get(entry.location, "lies neither in the Hub's cache nor in one of library.folders")
    raise UsageError(f"{entry.name} {where}, so it is not deleted here.")


def _understood(name: str, entries: Sequence[LibraryEntry], cache: Path | None) -> list[LibraryEntry]:
    understood = read_own(name)
    if isinstance(understood, HubName) and understood.label is None and understood.file is None:
        revision = f"@{understood.revision}" if understood.revision else ""
        return [entry for entry in entries if find_repo(entry) == f"{understood.repo}{revision}"]
    if isinstance(understood, Alias | HubName | LocalPath):
        try:
            paths = {artifact.path for artifact in list_candidates(understood, cache=cache)}
        except (ModelNotFound, ArtifactError):
            # A damaged file is not found as a model; its path may still be listed.
            paths = {Path(name).expanduser().absolute(), Path(name).expanduser().resolve()}
        return [entry for entry in entries if entry.path in paths]
    if isinstance(understood, Unknown):
        return [entry for entry in entries if entry.short == understood.text]
    return []


def find_repo(entry: LibraryEntry) -> str | None:
    """`owner/name` of an entry of the Hub's cache, with `@commit` where it is an older one."""
    if entry.location is not Location.HUB:
        return None
    name, _, _ = entry.name.partition(":")
    return "/".join(name.split("/")[:2])


def _neighbours(entry: LibraryEntry) -> set[Path]:
    """Files that other models of the same folder are made of too, such as a tokenizer beside two graphs."""
    folder = entry.path if entry.path.is_dir() else entry.path.parent
    folder = folder.parent if folder.name == "onnx" else folder
    return list_shared(folder, entry.files)


def _from_folders(folders: Iterable[Path], entry: LibraryEntry) -> int:
    files = entry.files or (entry.path,)
    roots = [folder for folder in folders if all(is_inside(file.parent, folder) for file in files)]
    if not roots:
        raise UsageError(f"{entry.name} does not lie in one of library.folders, so it is not deleted here.")
    kept = _neighbours(entry)
    freed = sum(remove_file(file) for file in files if file not in kept)
    _sweep({file.parent for file in files}, roots[0].resolve())
    return freed


def _sweep(folders: Iterable[Path], root: Path) -> None:
    """Remove folders that became empty, below the root."""
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        if folder.resolve() != root and not any(folder.iterdir()):
            folder.rmdir()
