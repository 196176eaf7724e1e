"""A SQLite file that is written by one thread, so that nobody waits for a disk.

What is put comes into the file within a second, in one transaction with all that came meanwhile; write-ahead logging
keeps each of them whole whatever the process dies of, and lets several processes share a file. A damaged file is set
aside and begun anew; who shared it notices, and goes on with the new one. While the disk is full, read-only or the file
locked, what was put waits, in bounded memory. The file of an older version is brought up to this one, that of a newer
one is left alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

from core.telemetry.log import get_logger

GATHER_SECONDS: Final = 0.5
"""That writes are gathered for."""
RETRY_SECONDS: Final = 5.0
"""Between two tries to write to a file that could not be written."""
LOCKED_SECONDS: Final = 5.0
"""That another process may hold the file."""
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Of writes that wait; of more, the oldest are given up."""

Found = TypeVar("Found")
Value = str | bytes | int | float | None
Write = Callable[[sqlite3.Connection], object]
_Waiting = tuple[int, Write]
"""Bytes, and what holds them."""
_FileIdentity = tuple[int, int]
"""Device and number, which no other file has as long as it exists."""
log = get_logger(__name__)


class NewerFile(sqlite3.OperationalError):
    """A later version of this program has written the file."""


class KeptDatabase:
    """`put` is for any thread, and never waits; `read` and `look` wait for the disk. The thread begins with the first
    `put`."""

    def __init__(self, path: Path, versions: Sequence[Sequence[str]]) -> None:
        """`versions`: for each version of the file, from one on, the statements that make it of the one before; the
        first ones begin with an empty file. Nothing is opened yet."""
        self.path = path
        self._versions = versions
        self._waiting: deque[_Waiting] = deque()
        self.waiting_bytes = 0
        """Of what is to be written still."""
        self.trouble: str | None = None
        """Why nothing can be written for the time being, in the system's words."""
        self.set_aside: Path | None = None
        """Where the damaged file is that was met last."""
        self._given_up = 0
        self._told: set[str] = set()
        self._changed = threading.Condition()
        self._writing = False
        self._stuck = False
        """Whether the last try to write failed, so that the next one is some seconds away."""
        self._flushing = 0
        """Callers that wait for the writer now, so that it gathers no more."""
        self._closing = False
        self._thread: threading.Thread | None = None
        self._database: sqlite3.Connection | None = None
        """The writer's own."""
        self._opened: _FileIdentity | None = None
        """Which file that is."""

    def put(self, write: Write, size: int = 100) -> None:
        """Have `write` done in one of the next transactions. `size`: bytes that it holds until then."""
        with self._changed:
            if self._closing:
                return
            self._waiting.append((size, write))
            self.waiting_bytes += size
            while self.waiting_bytes > MOST_WAITING_BYTES and len(self._waiting) > 1:
                lost, _ = self._waiting.popleft()
                self.waiting_bytes -= lost
                self._given_up += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"writer of {self.path.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def read(self, query: str, values: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """The rows of a query, of what was written up to now. Raises sqlite3.Error, OSError; empty where there is no
        file."""
        return self.look(lambda database: database.execute(query, values).fetchall(), [])

    def look(self, read: Callable[[sqlite3.Connection], Found], nothing: Found) -> Found:
        """What `read` finds in one state of the file; `nothing` where there is no file. Raises as `read` does, and has
        the writer look at a file that seems to be damaged."""
        if not self.path.exists():
            return nothing
        try:
            with closing(self._open()) as database:
                database.execute("BEGIN")
                return read(database)
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:
                self.put(_check_whole)
            raise

    def flush(self, seconds: float = LOCKED_SECONDS) -> bool:
        """Wait until what was put is written; False where that took longer, and at once where the file cannot be
        written for the time being."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._stuck or self._is_written(), seconds)
                return self._is_written()
            finally:
                self._flushing -= 1

    def close(self, seconds: float = LOCKED_SECONDS) -> None:
        """Write what waits, for so long at most. Nothing is taken any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _is_written(self) -> bool:
        return not self._waiting and not self._writing

    def _open(self) -> sqlite3.Connection:
        """The file, made where there is none, readable for nobody else. Raises sqlite3.Error, OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Only where there is none: closing a file releases all locks that this process has on it, those of SQLite among
        # them, and another process would then take away the log that is written here.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        database = sqlite3.connect(self.path, timeout=LOCKED_SECONDS, isolation_level=None)
        try:
            self._make_ours(database)
        except BaseException:
            database.close()
            raise
        return database

    def _make_ours(self, database: sqlite3.Connection) -> None:
        # What is deleted is not to be found in the file.
        database.execute("PRAGMA secure_delete = ON")
        latest = len(self._versions)
        if (found := _read_version(database)) == latest:
            return
        if found > latest:
            raise NewerFile(f"a newer version of this program has written it ({found}; this one knows {latest})")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        # Another process may have made it meanwhile.
        for statements in self._versions[_read_version(database) :]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {latest}")
        database.execute("COMMIT")

    # On the writer's thread.

    def _run(self) -> None:
        pause = 0.0
        while not (pause and self._closing):
            with self._changed:
                self._changed.wait_for(lambda: self._closing, pause)
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    break
                self._changed.wait_for(lambda: self._closing or self._flushing > 0, GATHER_SECONDS)
                batch = list(self._waiting)
                self._waiting.clear()
                self.waiting_bytes, self._writing = 0, True
            batch, pause = self._try(batch)
            with self._changed:
                self._waiting.extendleft(reversed(batch))
                self.waiting_bytes += sum(size for size, _ in batch)
                self._writing, self._stuck = False, pause > 0
                if not pause:
                    self.trouble = None
                self._changed.notify_all()
        self._release()

    def _try(self, batch: list[_Waiting]) -> tuple[list[_Waiting], float]:
        """What is to be written once more, and after how many seconds."""
        met = _identify_file(self.path)
        try:
            if self._database is None or met != self._opened:
                # Where it is another one, who shares it has set it aside, or somebody has deleted it.
                self._release()
                self._database = self._open()
                met = self._opened = _identify_file(self.path)
            self._write(self._database, batch)
        except (sqlite3.OperationalError, OSError) as error:
            self._tell("a file cannot be written now; what belongs there waits", error)
            return batch, RETRY_SECONDS
        except Exception as error:
            if type(error) is sqlite3.DatabaseError:
                # No subclass: SQLite says so of a file that is no database, or is damaged.
                self._tell("a file is damaged; it is set aside, and a new one begun", error)
                self._release()
                gone = met != _identify_file(self.path) or self._set_aside()
                return batch, 0.0 if gone else RETRY_SECONDS
            if len(batch) > 1:
                return self._try_each(batch)
            # The edge of the thread: a write that cannot be done must not keep the others waiting for ever.
            log.exception("a write to a file failed, and is given up", file=self.path.name)
            return [], 0.0
        self._told.clear()
        return [], 0.0

    def _try_each(self, batch: list[_Waiting]) -> tuple[list[_Waiting], float]:
        """As `_try`, in a transaction for each, where one of them cannot be done."""
        for number, write in enumerate(batch):
            again, pause = self._try([write])
            if again:
                return [*again, *batch[number + 1 :]], pause
        return [], 0.0

    def _release(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _write(self, database: sqlite3.Connection, batch: Sequence[_Waiting]) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            for _, write in batch:
                write(database)
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise

    def _set_aside(self) -> bool:
        """Whether the file is gone from its place."""
        aside = f"{self.path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
        if self.path.exists():
            return False
        self.set_aside = Path(aside)
        return True

    def _tell(self, what: str, error: Exception) -> None:
        """Once for a reason, until a write succeeds."""
        self.trouble = str(error)
        if str(error) not in self._told:
            self._told.add(str(error))
            log.warning(what, file=self.path.name, why=str(error), given_up=self._given_up)


def _check_whole(database: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file that is damaged anywhere."""
    told = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if told != "ok":
        raise sqlite3.DatabaseError(told)


def _read_version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _identify_file(path: Path) -> _FileIdentity | None:
    """None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
