"""The third tier of the prefix cache: a folder of files, a folder below it for each model. All of it blocks.

Several processes may share the folder: files are never changed, appear whole, and may vanish at any time. Which file
was used last is told by its time of modification.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import shutil
import time
from collections.abc import Iterator, Set
from pathlib import Path

from msgspec import Struct

from core.cache.container import (
    DamagedPrefix,
    PrefixFile,
    PrefixHeader,
    count_file_bytes,
    read_state,
    read_stored,
    write_prefix,
)
from core.cache.identity import digest_bytes
from core.cache.prefix import Tokens
from core.telemetry.log import get_logger

SUFFIX = ".safetensors"
DEFAULT_SHARE = 0.1
"""Of the free disk."""
DEFAULT_MOST_BYTES = 20_000_000_000
RETRY_SECONDS = 60.0
"""Without a try to write, after one that failed."""
UNSEEN_SHARE = 1 / 16
"""Of the limit, which a process writes before it looks again at what others wrote into the folder."""
STALE_SECONDS = 600.0
"""A temporary file that nobody has written to for so long was left by a process that was killed."""
PRIVATE_MODE = 0o700
"""Prompts can be read from what is stored."""
log = get_logger(__name__)


class DiskFile(Struct, frozen=True):
    """A file of the tier, as the folder shows it."""

    path: Path
    size: int
    used: float
    """Seconds since the epoch."""


class DiskTier:
    """Belongs to one thread at a time. Where a file cannot be written, none is for a while, and then it is tried again;
    reading goes on.

    What the files take is counted at the start, and again after an error and after UNSEEN_SHARE of the limit was
    written: in between several processes may be above the limit by that share each.
    """

    def __init__(self, folder: Path, limit: int | None = None, *, retry: float = RETRY_SECONDS) -> None:
        """`limit`: bytes of all files together; None takes DEFAULT_SHARE of what is free, with what is used already.
        `retry`: seconds between two tries where files cannot be written."""
        self.folder = folder
        self.limit = limit or 0
        """Zero until the first files are looked for, where none is given."""
        self.problem = ""
        """Why nothing is written; empty while writing works."""
        self._retry = retry
        self._next_try = 0.0
        """On the monotonic clock, where there is a problem."""
        self._bounded = limit is not None
        self._known = _KnownFiles()
        self._counted = False
        self._unseen = 0
        """Bytes that were written since the files were counted."""
        self._gone: set[Path] = set()
        """Files that are no longer there, of which nobody was told yet."""

    @property
    def used(self) -> int:
        """Bytes of all files. From any thread."""
        return self._known.total

    @property
    def writable(self) -> bool:
        """Whether a file is to be written now, also to see whether that works again. From any thread."""
        return not self.problem or time.monotonic() >= self._next_try

    def files(self) -> list[DiskFile]:
        """All files of all models, the one used longest ago first."""
        return sorted(list_stored_files(self.folder), key=lambda file: file.used)

    def load(self, model: str) -> list[tuple[Path, PrefixFile]]:
        """What is stored of the model with this digest, longest first. What is damaged is deleted, and told."""
        try:
            self._count()
        except OSError as error:
            # What is there can be read all the same.
            self._rest(error.strerror or str(error))
        found: list[tuple[Path, PrefixFile]] = []
        for file in list_stored_files(self.folder / model):
            self._known.add(file)
            try:
                found.append((file.path, read_stored(file.path)))
            except DamagedPrefix as error:
                self.discard(file.path, str(error))
            except OSError as error:
                log.warning("a stored prefix cannot be read", file=file.path.name, why=error.strerror or str(error))
        return sorted(found, key=lambda each: len(each[1].tokens), reverse=True)

    def write(self, header: PrefixHeader, tokens: Tokens, state: bytes) -> tuple[Path, set[Path]] | None:
        """Store a prefix; returns its file, and those that are gone: they had to go for it, or for what other
        processes wrote. None when it is not stored."""
        if not self.writable:
            return None
        path = self.path_of(header, tokens)
        try:
            self._count()
            size = count_file_bytes(header, tokens, len(state))
            if size > self.limit:
                return None
            self._make_folder(path.parent)
            self._known.forget(path)
            self._make_room(size)
            write_prefix(path, header, tokens, state)
        except OSError as error:
            self._counted = False
            self._rest(error.strerror or str(error))
            return None
        except MemoryError:
            self._counted = False
            self._rest("there is not enough memory")
            return None
        if self.problem:
            self.problem = ""
            log.info("prefixes are stored on disk again", folder=str(self.folder))
        if (made := _look_at(path)) is not None:
            self._known.add(made)
        self._unseen += size
        gone, self._gone = self._gone - {path}, set()
        return path, gone

    def give_up(self, why: str) -> None:
        """Write nothing any more, and say so."""
        self._note_problem(f"Prefixes are not stored in {self.folder} until the next start: {why}.", why)
        self._next_try = math.inf

    def _rest(self, why: str) -> None:
        """Write nothing for a while, and say so where that is new."""
        self._note_problem(f"Prefixes are not stored in {self.folder} for the time being: {why}.", why)
        self._next_try = time.monotonic() + self._retry

    def _note_problem(self, words: str, why: str) -> None:
        if not self.problem:
            log.warning("prefixes are no longer stored on disk", folder=str(self.folder), why=why)
        self.problem = words

    def read(self, path: Path, header: PrefixHeader, tokens: Tokens) -> bytes | None:
        """The state of a stored prefix; None where there is none that can be used, which is told."""
        try:
            state = read_state(path, header, tokens)
        except FileNotFoundError:
            # Another process needed the room.
            self._known.forget(path)
            return None
        except DamagedPrefix as error:
            self.discard(path, str(error))
            return None
        except OSError as error:
            log.warning("a stored prefix cannot be read", file=path.name, why=error.strerror or str(error))
            return None
        except MemoryError:
            log.warning("a stored prefix cannot be read", file=path.name, why="There is not enough memory for it")
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return state

    def discard(self, path: Path, why: str) -> None:
        """Delete a file that cannot be used, and say so."""
        log.warning("a stored prefix cannot be used, and is computed again", file=path.name, why=why)
        self.remove(path)

    def remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            self._known.forget(path)

    def path_of(self, header: PrefixHeader, tokens: Tokens) -> Path:
        """Where the prefix lies: named by all that tells it from others."""
        name = digest_bytes(f"{header.owner} {header.cuts} {tokens}".encode())
        return self.folder / header.identity.digest / f"{name}{SUFFIX}"

    def _count(self) -> None:
        """Look at the folder and the disk, where that is due. The limit may be lower than it was at the last start."""
        if self._counted and self._unseen <= self.limit * UNSEEN_SHARE:
            return
        if not self._bounded:
            self.limit, self._bounded = choose_disk_limit(self.folder), True
        _sweep(self.folder)
        known = _KnownFiles()
        for file in list_stored_files(self.folder):
            known.add(file)
        self._gone |= self._known.paths - known.paths
        self._known = known
        self._counted, self._unseen = True, 0
        self._make_room(0)

    def _make_folder(self, folder: Path) -> None:
        for each in (self.folder, folder):
            if not each.is_dir():
                each.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete the files used longest ago until one more may have `size` bytes within the limit."""
        while self.used + size > self.limit and (path := self._known.pop_oldest()) is not None:
            self.remove(path)
            self._gone.add(path)


class _KnownFiles:
    """Files that were seen or written, and what they take together."""

    def __init__(self) -> None:
        self.total = 0
        self._sizes: dict[Path, int] = {}
        self._by_use: list[tuple[float, Path]] = []
        """A heap. Files may have been used since, or be known no longer."""

    @property
    def paths(self) -> Set[Path]:
        return self._sizes.keys()

    def add(self, file: DiskFile) -> None:
        """Know a file, once."""
        self.forget(file.path)
        self._sizes[file.path] = file.size
        self.total += file.size
        heapq.heappush(self._by_use, (file.used, file.path))

    def forget(self, path: Path) -> None:
        self.total -= self._sizes.pop(path, 0)

    def pop_oldest(self) -> Path | None:
        """The file that was used longest ago, which is to be deleted; None where no other is left."""
        while self._by_use:
            used, path = heapq.heappop(self._by_use)
            if path not in self._sizes:
                continue
            file = _look_at(path)
            if file is None or file.used <= used:
                return path
            heapq.heappush(self._by_use, (file.used, path))
        return None


def list_stored_files(folder: Path) -> Iterator[DiskFile]:
    """Files of stored prefixes below a folder; none where there is no such folder, or none that may be looked into."""
    for path in _walk(folder):
        if not path.name.endswith(SUFFIX) or path.name.startswith("."):
            continue
        if (file := _look_at(path)) is not None:
            yield file


def _look_at(path: Path) -> DiskFile | None:
    """None where there is no such file, or none that may be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return DiskFile(path, found.st_size, found.st_mtime)


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder. Unlike `rglob`, it passes over what may not be looked into."""
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def choose_disk_limit(folder: Path) -> int:
    """Bytes that stored prefixes may take where the user names no number."""
    used = sum(file.size for file in list_stored_files(folder))
    return min(DEFAULT_MOST_BYTES, int((shutil.disk_usage(find_existing(folder)).free + used) * DEFAULT_SHARE))


def find_existing(folder: Path) -> Path:
    """The folder, or the next one above it that is there."""
    return next((each for each in (folder, *folder.parents) if _is_folder(each)), Path.cwd())


def _is_folder(path: Path) -> bool:
    """False also where the folders above it may not be looked into."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _sweep(folder: Path) -> None:
    """Delete the temporary files of processes that were killed."""
    for path in _walk(folder):
        if not path.name.startswith(".") or f"{SUFFIX}." not in path.name:
            continue
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
