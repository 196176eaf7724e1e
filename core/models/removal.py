"""Deleting models: only what lies in the Hub's cache or in a folder of the user's, and nothing that others share."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ArtifactError, ModelNotFound, UsageError
from core.models.hubcache import PREFIX, quants, read_snapshot
from core.models.library import Library, LibraryEntry, Place
from core.models.names import Alias, HubName, LocalPath
from core.models.resolve import candidates, read

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo


def find(name: str, entries: Sequence[LibraryEntry], cache: Path | None = None) -> LibraryEntry:
    """The one entry of a library that a name stands for: its own name, an alias, a repository, a path.

    Raises ModelNotFound when there is none, UsageError when there are several.
    """
    found = [entry for entry in entries if entry.name == name] or _understood(name, entries, cache)
    if len(found) > 1:
        listed = ", ".join(entry.name for entry in found)
        raise UsageError(f"{name} stands for several models here; name one of {listed}.")
    if not found:
        raise ModelNotFound(name, f"There is no model {name} on this machine; `tui list` tells what there is.")
    return found[0]


def delete(library: Library, entry: LibraryEntry) -> int:
    """Delete a model's files and return the bytes that became free; what another model shares with it stays.

    Raises UsageError for what is not ours to delete, ArtifactError when it cannot be done.
    """
    try:
        if entry.place is Place.HUB and library.cache is not None:
            return _from_cache(library.cache, entry)
        if entry.place is Place.FOLDER:
            return _from_folders(library.folders, entry)
    except OSError as error:
        raise ArtifactError(entry.name, f"{entry.name} could not be deleted: {error.strerror or error}.") from error
    where = {
        Place.BUILT_IN: "belongs to the program",
        Place.SERVER: "is on a server",
    }.get(entry.place, "lies neither in the Hub's cache nor in one of library.folders")
    raise UsageError(f"{entry.name} {where}, so it is not deleted here.")


def _understood(name: str, entries: Sequence[LibraryEntry], cache: Path | None) -> list[LibraryEntry]:
    understood = read(name)
    if isinstance(understood, HubName) and understood.label is None and understood.file is None:
        revision = f"@{understood.revision}" if understood.revision else ""
        return [entry for entry in entries if _repo(entry) == f"{understood.repo}{revision}"]
    if isinstance(understood, Alias | HubName | LocalPath):
        try:
            paths = {artifact.path for artifact in candidates(name, cache=cache)}
        except (ModelNotFound, ArtifactError):
            # What is damaged is not found as a model is; its path may still be listed.
            paths = {Path(name).expanduser().absolute(), Path(name).expanduser().resolve()}
        return [entry for entry in entries if entry.path in paths]
    return []


def _repo(entry: LibraryEntry) -> str | None:
    """`owner/name` of an entry of the Hub's cache, with `@commit` where it is an older one."""
    if entry.place is not Place.HUB:
        return None
    name, _, _ = entry.name.partition(":")
    return "/".join(name.split("/")[:2])


def _from_cache(cache: Path, entry: LibraryEntry) -> int:
    from huggingface_hub import scan_cache_dir

    files = entry.files or (entry.path,)
    folder = _repo_folder(cache, files[0])
    if folder is None or not all(_inside(file.parent, folder) for file in files):
        raise UsageError(f"{entry.name} does not lie in the Hub's cache {cache}, so it is not deleted here.")
    if entry.share is not None or entry.path == folder / "blobs":
        return _unlink(files)
    info = scan_cache_dir(cache)
    if not any(repo.repo_path == folder for repo in info.repos):
        return _wreck(cache, folder)
    snapshot = folder / "snapshots" / files[0].relative_to(folder / "snapshots").parts[0]
    return _revision(info, snapshot, set(files), _shared(snapshot, files))


def _revision(info: HFCacheInfo, snapshot: Path, files: Collection[Path], shared: Collection[Path]) -> int:
    """Delete the whole commit where nothing else of it is a model, else the files that no other model has."""
    revision = next(each for repo in info.repos for each in repo.revisions if each.snapshot_path == snapshot)
    if shared:
        doomed = [file for file in revision.files if file.file_path in files and file.file_path not in shared]
        strategy = info.delete_files(*doomed)
    else:
        strategy = info.delete_revisions(revision.commit_hash)
    strategy.execute()
    return strategy.expected_freed_size


def _shared(snapshot: Path, files: Collection[Path]) -> set[Path]:
    """All files of the models in a snapshot but of the one that is made of `files`."""
    found = quants(read_snapshot(snapshot.parent.parent.name, snapshot))
    models = [{snapshot / file.path for file in quant.files} for quant in found]
    return {path for model in models if model != set(files) for path in model}


def _repo_folder(cache: Path, file: Path) -> Path | None:
    try:
        inside = file.relative_to(cache)
    except ValueError:
        return None
    return cache / inside.parts[0] if inside.parts and inside.parts[0].startswith(PREFIX) else None


def _wreck(cache: Path, folder: Path) -> int:
    """A repository that huggingface_hub gives up on, with links to what is no longer there: all of it goes."""
    if folder.parent != cache or folder.is_symlink():
        raise UsageError(f"{folder} is not a folder of the Hub's cache, so it is not deleted here.")
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(folder)
    return size


def _from_folders(folders: Iterable[Path], entry: LibraryEntry) -> int:
    files = entry.files or (entry.path,)
    roots = [folder for folder in folders if all(_inside(file.parent, folder) for file in files)]
    if not roots:
        raise UsageError(f"{entry.name} does not lie in one of library.folders, so it is not deleted here.")
    kept = _neighbours(entry)
    freed = _unlink([file for file in files if file not in kept])
    _sweep({file.parent for file in files}, roots[0].resolve())
    return freed


def _neighbours(entry: LibraryEntry) -> set[Path]:
    """Files that other models of the same folder are made of too, such as a tokenizer beside two graphs."""
    folder = entry.path if entry.path.is_dir() else entry.path.parent
    folder = folder.parent if folder.name == "onnx" else folder
    return _shared(folder, entry.files)


def _unlink(files: Iterable[Path]) -> int:
    """A link frees nothing, and neither does a file that is known by another name as well."""
    freed = 0
    for file in files:
        found = file.lstat()
        freed += found.st_size if found.st_nlink == 1 and not file.is_symlink() else 0
        file.unlink()
    return freed


def _sweep(folders: Iterable[Path], root: Path) -> None:
    """Remove folders that became empty, below the root."""
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        if folder.resolve() != root and not any(folder.iterdir()):
            folder.rmdir()


def _inside(path: Path, root: Path) -> bool:
    """Whether a folder is the root or below it, where links lead."""
    return path.resolve().is_relative_to(root.resolve())
