"""Deleting a model from the Hub's cache: its own files, and the rest of its commit once no model is left there."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from core.errors import DownloadError, UsageError
from core.models.downloads.discard import (
    is_unfinished,
    lock_contents,
    remove_empty_folders,
    remove_file,
    unlink_entries,
)
from core.models.downloads.folder_lock import is_downloading, is_locked
from core.models.downloads.journal import NAME, DownloadJournal, JournalEntry
from core.models.downloads.status import DownloadState
from core.models.hub.cache import PREFIX, list_quants, read_snapshot
from core.models.hub.endpoint import RepoCache, measure_file
from core.models.library.scan import PARTIAL, WORTH_TELLING_BYTES, LibraryEntry

WEIGHTS: Final = frozenset({".gguf", ".safetensors", ".onnx", ".onnx_data", ".bin", ".pte", ".mnn", ".weight", ".pt"})
"""Endings of files that are kept however small, such as a projector or a part of a split model."""


def delete_cached(cache: Path, entry: LibraryEntry, downloads: Path | None) -> int:
    """Delete what no other model and no download is made of, and return the bytes that became free.

    `downloads` is the folder of the list of downloads. Raises UsageError for what does not lie in the cache,
    DownloadError for what is being fetched, OSError.
    """
    files = entry.files or (entry.path,)
    folder = _repo_folder(cache, files[0])
    if folder is None or folder.is_symlink() or not all(is_inside(file.parent, folder) for file in files):
        raise UsageError(f"{entry.name} does not lie in the Hub's cache {cache}, so it is not deleted here.")
    going = _Going(downloads, folder)
    if entry.path == folder / "blobs":
        freed = _partial(going, entry)
        return freed + (0 if any((folder / "snapshots").glob("*")) else _drop(going))
    snapshot = folder / "snapshots" / files[0].relative_to(folder / "snapshots").parts[0]
    kept = list_shared(snapshot, files) | going.holds(snapshot, files, entry.name)
    doomed = [file for file in files if file not in kept]
    with lock_contents(folder, [file.resolve().name for file in doomed if file.is_symlink()], entry.name):
        freed = unlink_entries(folder, doomed)
    remove_empty_folders(snapshot)
    return freed + _rest(going, snapshot)


def list_shared(snapshot: Path, files: Collection[Path]) -> set[Path]:
    """All files of the models in a snapshot but of the one that is made of `files`."""
    found = list_quants(read_snapshot(snapshot.parent.parent.name, snapshot))
    models = [{snapshot / file.path for file in quant.files} for quant in found]
    return {path for model in models if model != set(files) for path in model}


def is_inside(path: Path, root: Path) -> bool:
    """Whether a folder is the root or below it, where links lead."""
    return path.resolve().is_relative_to(root.resolve())


class _Going:
    """The downloads of a repository that are not finished."""

    def __init__(self, downloads: Path | None, folder: Path) -> None:
        self._downloads = downloads
        self.folder = folder
        entries = DownloadJournal(downloads / NAME).entries() if downloads is not None else {}
        self.entries = [each for each in entries.values() if is_unfinished(each) and self._of(each).folder == folder]

    def _of(self, entry: JournalEntry) -> RepoCache:
        return RepoCache(self.folder.parent, entry.quant.repo, entry.quant.revision)

    def holds(self, snapshot: Path, files: Iterable[Path], name: str) -> set[Path]:
        """Files of a snapshot that unfinished downloads need. Raises DownloadError where `files` are being fetched."""
        held: set[Path] = set()
        for entry in self.entries:
            cache = self._of(entry)
            if cache.snapshot == snapshot:
                paths = {cache.pointer(file.path) for file in entry.quant.files}
                if paths.issuperset(files):
                    self._refuse(entry, name)
                else:
                    held |= paths
        return held

    def refuse(self, etags: Collection[str], name: str) -> None:
        """Raises DownloadError where one of the blobs is being fetched."""
        for entry in self.entries:
            if not {file.sha256 for file in entry.quant.files}.isdisjoint(etags):
                self._refuse(entry, name)

    def _refuse(self, entry: JournalEntry, name: str) -> None:
        going = entry.state is DownloadState.RUNNING and self._downloads is not None and is_downloading(self._downloads)
        if going:
            raise DownloadError(f"{entry.quant.name} is being downloaded; pause it before {name} is deleted.")


def _repo_folder(cache: Path, file: Path) -> Path | None:
    """The folder of the repository to which a file of a snapshot, or an incomplete blob, belongs."""
    try:
        parts = file.relative_to(cache).parts
    except ValueError:
        return None
    known = len(parts) > 2 and parts[0].startswith(PREFIX) and parts[1] in ("snapshots", "blobs")
    return cache / parts[0] if known else None


def _partial(going: _Going, entry: LibraryEntry) -> int:
    etags = {file.name.partition(".")[0] for file in entry.files}
    going.refuse(etags, entry.name)
    with lock_contents(going.folder, etags, entry.name):
        return sum(remove_file(file) for file in entry.files)


def _rest(going: _Going, snapshot: Path) -> int:
    """Delete the rest of a commit where it holds neither a model nor a part of one; the bytes that became free."""
    left = [path for path in snapshot.rglob("*") if path.is_symlink() or path.is_file()]
    if going.entries or _begun(going.folder) or any(map(_weighs, left)):
        return 0
    freed = unlink_entries(going.folder, left)
    remove_empty_folders(snapshot)
    for ref in _refs(going.folder, snapshot.name):
        ref.unlink(missing_ok=True)
    return freed + (0 if any(snapshot.parent.glob("*")) else _drop(going))


def _begun(folder: Path) -> bool:
    return any((folder / "blobs").glob(PARTIAL))


def _weighs(path: Path) -> bool:
    size = measure_file(path)
    return size >= WORTH_TELLING_BYTES or (size >= 0 and path.suffix in WEIGHTS)


def _refs(folder: Path, commit: str) -> Iterator[Path]:
    """The names of branches that lead to a commit."""
    for ref in (folder / "refs").rglob("*"):
        if ref.is_file() and ref.read_text(encoding="utf-8", errors="replace").strip() == commit:
            yield ref


def _drop(going: _Going) -> int:
    """Delete the whole folder of a repository of which no commit is left, unless something is being fetched."""
    folder = going.folder
    locks = (folder.parent / ".locks" / folder.name).glob("*.lock")
    if going.entries or _begun(folder) or any(map(is_locked, locks)):
        return 0
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(folder)
    return size
