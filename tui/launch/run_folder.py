"""The folder that belongs to one run, and a lock beside it, which the system frees when all who hold it are dead.

The program holds the lock as well: where this process alone was killed, its folder stays until the program has ended.
The next run removes what the dead have left.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.errors import UsageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK: Final = ".lock"
"""What the lock's name has behind the folder's."""


class RunFolder(Struct, frozen=True):
    """A folder that its user alone can read."""

    path: Path
    held: tuple[int, ...]
    """Descriptors that the program is to inherit, so that it holds the lock."""


@contextmanager
def make_folder(name: str, parent: Path) -> Iterator[RunFolder]:
    """A folder in `parent` for a program called `name`; it goes with all that is in it. Those of dead runs go before.

    Raises UsageError where there can be none.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        remove_dead_folders(parent)
        folder, lock = _make_locked(name, parent.resolve())
    except OSError as error:
        raise UsageError(f"No folder for {name} can be made in {parent}: {error.strerror}.") from error
    try:
        yield RunFolder(folder, () if sys.platform == "win32" else (lock,))
    finally:
        _remove(folder, lock)


def remove_dead_folders(parent: Path) -> None:
    """Remove the folders in `parent` whose runs are dead. Several may do so at once; raises nothing."""
    for path in parent.glob(f"*{LOCK}"):
        with suppress(OSError):
            lock = os.open(path, os.O_RDWR)
            if _try_lock(lock) and _is_at(path, lock):
                _remove(path.with_name(path.name.removesuffix(LOCK)), lock)
            else:
                os.close(lock)


def _make_locked(name: str, parent: Path) -> tuple[Path, int]:
    """The folder, and the descriptor of its lock. Raises OSError."""
    while True:
        lock, made = tempfile.mkstemp(prefix=f"{name}-", suffix=LOCK, dir=parent)
        # Who sweeps at this moment may have taken it for a dead one's.
        if _try_lock(lock) and _is_at(Path(made), lock):
            break
        os.close(lock)
    folder = Path(made.removesuffix(LOCK))
    try:
        folder.mkdir(0o700)
    except OSError:
        _remove(folder, lock)
        raise
    return folder, lock


def _remove(folder: Path, lock: int) -> None:
    """A folder whose lock is held. The lock stays for the next sweep where not all can be removed."""
    # Links are removed, and what they lead to stays.
    shutil.rmtree(folder, ignore_errors=True)
    path = folder.with_name(folder.name + LOCK)
    if sys.platform == "win32":
        # What is open cannot be removed there.
        os.close(lock)
    if not folder.exists():
        path.unlink(missing_ok=True)
    if sys.platform != "win32":
        os.close(lock)


def _try_lock(lock: int) -> bool:
    """Whether nobody else holds it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(path: Path, lock: int) -> bool:
    """Whether the file that is open is still the one of this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except OSError:
        return False
