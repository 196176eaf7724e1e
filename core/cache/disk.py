"""The third tier of the prefix cache: a folder of files, a folder below it for each model. All of it blocks.

Several processes may share the folder: files are never changed, appear whole, and may vanish at any time. Which file
was used last is told by its time of modification.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterator
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
    reading goes on."""

    def __init__(self, folder: Path, limit: int | None = None, *, retry: float = RETRY_SECONDS) -> None:
        """`limit`: bytes of all files together; None takes DEFAULT_SHARE of what is free, with what is used already.
        `retry`: seconds between two tries where files cannot be written."""
        self.folder = folder
        self.limit = limit or 0
        """Zero until the first files are looked for, where none is given."""
        self.problem = ""
        """Why nothing is written; empty while writing works."""
        self.used = 0
        self._retry = retry
        self._next_try = 0.0
        """On the monotonic clock, where there is a problem."""
        self._bounded = limit is not None
        self._counted = False

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
            try:
                found.append((file.path, read_stored(file.path)))
            except DamagedPrefix as error:
                self.discard(file.path, str(error))
            except OSError as error:
                log.warning("a stored prefix cannot be read", file=file.path.name, why=error.strerror or str(error))
        return sorted(found, key=lambda each: len(each[1].tokens), reverse=True)

    def write(self, header: PrefixHeader, tokens: Tokens, state: bytes) -> tuple[Path, set[Path]] | None:
        """Store a prefix; returns its file, and all files that there are now: some had to go for it, or for what other
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
            left = self._make_room(size, path)
            write_prefix(path, header, tokens, state)
        except OSError as error:
            self._rest(error.strerror or str(error))
            return None
        except MemoryError:
            self._rest("there is not enough memory")
            return None
        if self.problem:
            self.problem = ""
            log.info("prefixes are stored on disk again", folder=str(self.folder))
        self.used += size
        return path, {path, *left}

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
            size = path.stat().st_size
            path.unlink()
            self.used -= size

    def path_of(self, header: PrefixHeader, tokens: Tokens) -> Path:
        """Where the prefix lies: named by all that tells it from others."""
        name = digest_bytes(f"{header.owner} {header.cuts} {tokens}".encode())
        return self.folder / header.identity.digest / f"{name}{SUFFIX}"

    def _count(self) -> None:
        """Look at the folder and the disk, once. The limit may be lower than it was at the last start."""
        if self._counted:
            return
        if not self._bounded:
            self.limit = choose_disk_limit(self.folder)
        self._make_room(0)
        self._counted = True

    def _make_folder(self, folder: Path) -> None:
        for each in (self.folder, folder):
            if not each.is_dir():
                each.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)

    def _make_room(self, size: int, path: Path | None = None) -> list[Path]:
        """Delete the files used longest ago until `path`, a new one or not, may have `size` bytes within the limit;
        returns the others that are left."""
        _sweep(self.folder)
        others = [each for each in self.files() if each.path != path]
        self.used = sum(each.size for each in others)
        gone = 0
        while gone < len(others) and self.used + size > self.limit:
            self.remove(others[gone].path)
            gone += 1
        return [each.path for each in others[gone:]]


def list_stored_files(folder: Path) -> Iterator[DiskFile]:
    """Files of stored prefixes below a folder; none where there is no such folder, or none that may be looked into."""
    for path in _walk(folder):
        if not path.name.endswith(SUFFIX) or path.name.startswith("."):
            continue
        with contextlib.suppress(OSError):
            found = path.stat()
            yield DiskFile(path, found.st_size, found.st_mtime)


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
