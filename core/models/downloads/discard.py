"""Deleting from the Hub's cache: no file that another model needs, and no file that is being fetched."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.errors import DownloadError
from core.models.downloads.journal import JournalEntry
from core.models.downloads.status import DownloadState
from core.models.hub.cache import find_absent, list_quants, read_snapshot
from core.models.hub.endpoint import RepoCache
from core.models.hub.repository import Quant, RepoFile


def discard_download(cache: RepoCache, quant: Quant, fetched: Collection[str], others: Iterable[JournalEntry]) -> None:
    """Delete the incomplete files of a download, and those that it `fetched`. Files stay that one of the `others`, or
    another complete model of this commit, is made of. Raises DownloadError, OSError."""
    kept = list_held(cache, quant, others) | _complete(cache, quant)
    doomed = [file for file in quant.files if file.path not in kept]
    whole = [cache.pointer(file.path) for file in doomed if file.path in fetched]
    parts = [file.sha256 for file in doomed if file.path not in fetched and file.sha256 is not None]
    etags = {*parts, *(pointer.resolve().name for pointer in whole if pointer.is_symlink())}
    with lock_contents(cache.folder, etags, quant.name):
        unlink_entries(cache.folder, whole)
        for etag in parts:
            cache.partial(etag).unlink(missing_ok=True)


def list_held(cache: RepoCache, quant: Quant, others: Iterable[JournalEntry]) -> set[str]:
    """Paths of the same commit that other downloads are made of: those that are here, and those that may go on."""
    return {
        file.path
        for entry in others
        if (entry.quant.repo, entry.quant.revision) == (quant.repo, quant.revision)
        and (is_unfinished(entry) or _here(cache, entry.quant.files))
        for file in entry.quant.files
    }


def is_unfinished(entry: JournalEntry) -> bool:
    return entry.state not in (DownloadState.DONE, DownloadState.CANCELLED)


def _here(cache: RepoCache, files: Iterable[RepoFile]) -> bool:
    return all(cache.complete(file) for file in files)


def _complete(cache: RepoCache, quant: Quant) -> set[str]:
    """The files of all other complete models of the commit."""
    snapshot = read_snapshot(quant.repo, cache.snapshot)
    own = {file.path for file in quant.files}
    models = [
        {file.path for file in other.files} for other in list_quants(snapshot) if not find_absent(snapshot, other)
    ]
    return {path for model in models if not model <= own for path in model}


@contextmanager
def lock_contents(folder: Path, etags: Iterable[str], name: str) -> Iterator[None]:
    """Hold the locks of blobs of a repository's folder, which huggingface_hub takes too while it fetches them.

    Raises DownloadError where another holder has one of them.
    """
    from filelock import FileLock, Timeout

    locks = folder.parent / ".locks" / folder.name
    locks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            for etag in sorted(set(etags)):
                stack.enter_context(FileLock(locks / f"{etag}.lock", mode=0o664, timeout=0))
        except Timeout:
            raise DownloadError(f"A file of {name} is being downloaded; pause that download first.") from None
        yield


def unlink_entries(folder: Path, pointers: Collection[Path]) -> int:
    """Delete entries of snapshots, and their contents where no other entry of the repository in `folder` leads there;
    return the bytes that became free. Files that are gone already are passed over. Raises OSError."""
    blobs = folder.resolve() / "blobs"
    contents = {pointer.resolve() for pointer in pointers if pointer.is_symlink()}
    freed = sum(remove_file(pointer) for pointer in pointers)
    shared = {link.resolve() for link in _links(folder / "snapshots")}
    return freed + sum(remove_file(content) for content in contents - shared if content.parent == blobs)


def remove_file(path: Path) -> int:
    """Delete a file; the bytes that became free: none for a link, or for a file that has another name as well."""
    try:
        found = path.lstat()
        path.unlink()
    except FileNotFoundError:
        return 0
    return found.st_size if found.st_nlink == 1 and not stat.S_ISLNK(found.st_mode) else 0


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder and those below it as far as they are empty."""
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(parent).rmdir()


def _links(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(parent, name)).is_symlink())
