"""The lock on the folder of a list of downloads: one process at a time downloads, and writes the list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.telemetry.log import get_logger

if TYPE_CHECKING:
    from filelock import BaseFileLock

TAKE_SECONDS = 0.5
"""How long a process tries to take the lock: a process that only looks whether it is held has it for a moment."""
POLL_SECONDS = 0.01
log = get_logger(__name__)


class FolderLock:
    """Counts its holders within this process. The system frees it when the process ends, however that ends.

    For one thread at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._path = _lock_in(folder)
        self._lock: BaseFileLock | None = None
        self._holders = 0

    @property
    def held(self) -> bool:
        """By this process."""
        return self._holders > 0

    def take(self) -> bool:
        """Add a holder; False where another process has the lock."""
        if not self.held and not self._acquire():
            return False
        self._holders += 1
        return True

    def give(self) -> None:
        """Take a holder away."""
        self._holders -= 1
        if not self.held and self._lock is not None:
            self._lock.release()
            self._lock = None

    def _acquire(self) -> bool:
        from filelock import FileLock, Timeout

        lock = FileLock(self._path, thread_local=False)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=TAKE_SECONDS, poll_interval=POLL_SECONDS)
        except Timeout:
            return False
        except OSError as error:
            # Where nothing can be kept, no other process keeps a list either; the files have locks of their own.
            log.debug("downloads go without a lock", folder=str(self._path.parent), why=str(error))
            return True
        self._lock = lock
        return True


def is_downloading(folder: Path) -> bool:
    """Whether any process downloads into the list that is kept in `folder`."""
    return is_locked(_lock_in(folder))


def is_locked(path: Path) -> bool:
    """Whether anybody holds the lock of a file."""
    from filelock import FileLock, Timeout

    try:
        if not path.exists():
            return False
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # A lock that cannot be opened is held by nobody.
        return False


def _lock_in(folder: Path) -> Path:
    return folder / "lock"
