"""The last requests and replies, kept on disk for who asked for it: what clients really sent, to be looked at,
compared and sent again.

Bounded in number and bytes. Servers of one user share it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, structs
from msgspec.structs import replace

from core.capture.exchange import CapturedRequest, hide_query_secrets, hide_secrets
from core.errors import BenchtopError, UsageError
from core.kept_database import KeptDatabase, Value
from core.settings.capture import CaptureSettings
from core.settings.schema import Folders

FILE_NAME: Final = "requests.sqlite3"
SHARE_OF_ONE: Final = 4
"""No body and no reply takes more of the ring's bytes than one in so many."""
MODEL_LETTERS: Final = 200
PLACE_DIGITS: Final = 18
_VERSIONS: Final = (
    (
        """CREATE TABLE exchanges (
        place INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, request_id TEXT NOT NULL, began REAL NOT NULL,
        seconds REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL, first REAL,
        model TEXT NOT NULL, headers TEXT NOT NULL, reply_type TEXT NOT NULL, body_bytes INTEGER NOT NULL,
        reply_bytes INTEGER NOT NULL, body BLOB NOT NULL, reply BLOB NOT NULL)""",
    ),
    # Rows lie far apart, and all of them are summed up for each that comes.
    ("CREATE INDEX sizes ON exchanges (size)",),
)
_LINES: Final = """SELECT place, request_id, began, seconds, method, path, status, first, model, body_bytes,
    reply_bytes FROM exchanges ORDER BY place DESC LIMIT ?"""
_FIND: Final = """SELECT place, request_id, began, seconds, method, path, body, reply, status, first, headers,
    reply_type, body_bytes, reply_bytes FROM exchanges WHERE CASE
    WHEN ?2 IS NOT NULL THEN place = ?2
    WHEN EXISTS (SELECT 1 FROM exchanges WHERE request_id = ?1) THEN request_id = ?1
    ELSE substr(request_id, 1, length(?1)) = ?1 OR substr(request_id, -length(?1)) = ?1 END LIMIT 2"""
_INSERT: Final = """INSERT INTO exchanges (size, request_id, began, seconds, method, path, body, reply, status, first,
    headers, reply_type, body_bytes, reply_bytes, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_MEASURE: Final = "SELECT count(*), coalesce(sum(size), 0) FROM exchanges"
_OLDEST: Final = "SELECT place, size FROM exchanges ORDER BY place"
_DROP: Final = "DELETE FROM exchanges WHERE place <= ?"


class CapturesUnreadable(BenchtopError):
    """The file of captured requests cannot be read."""


class CapturedLine(Struct, frozen=True):
    """A captured request as a list shows it."""

    place: int
    """A number of its own, from one; it never comes again."""
    request_id: str
    began: float
    """Unix time."""
    seconds: float
    method: str
    path: str
    status: int
    first: float | None
    """Seconds until the first byte of the reply's body."""
    model: str
    body_bytes: int
    reply_bytes: int


class CaptureRing:
    """Belongs to one process, and shares its file with others. Writing costs the caller nothing but memory."""

    def __init__(self, folders: Folders, settings: CaptureSettings) -> None:
        """Nothing is opened yet."""
        self.path: Path = folders.state / FILE_NAME
        self.settings = settings
        self._file = KeptDatabase(self.path, _VERSIONS)

    @property
    def is_on(self) -> bool:
        """Whether requests are kept."""
        return self.settings.requests > 0

    @property
    def most_bytes(self) -> int:
        """That are kept of a body or a reply."""
        return self.settings.size * 1_000_000 // SHARE_OF_ONE

    def add(self, exchange: CapturedRequest, keys: Iterable[bytes] = ()) -> None:
        """Keep an exchange without its secrets, among them `keys`; from any thread."""
        self._file.put(partial(self._insert, exchange, tuple(keys)), exchange.size)

    def _insert(self, exchange: CapturedRequest, keys: tuple[bytes, ...], database: sqlite3.Connection) -> None:
        body, reply = (hide_secrets(text, keys) for text in (exchange.body, exchange.reply))
        kept = replace(
            exchange,
            path=hide_query_secrets(exchange.path, keys),
            headers={
                name: hide_secrets(value.encode("latin-1", "replace"), keys).decode("latin-1")
                for name, value in exchange.headers.items()
            },
            body=body,
            reply=reply,
            body_bytes=exchange.body_bytes - len(exchange.body) + len(body),
            reply_bytes=exchange.reply_bytes - len(exchange.reply) + len(reply),
        )
        fields = structs.asdict(replace(kept, headers=msgspec.json.encode(kept.headers).decode()))
        database.execute(_INSERT, (kept.size, *fields.values(), kept.model[:MODEL_LETTERS]))
        self._trim(database)

    def _trim(self, database: sqlite3.Connection) -> None:
        """The oldest make room."""
        count, held = database.execute(_MEASURE).fetchone()
        last = None
        for place, size in database.execute(_OLDEST):
            if count <= self.settings.requests and held <= self.settings.size * 1_000_000:
                break
            count, held, last = count - 1, held - size, place
        if last is not None:
            database.execute(_DROP, (last,))

    def list_lines(self, most: int = 1000) -> list[CapturedLine]:
        """The last ones, the newest first. Waits for the disk. Raises CapturesUnreadable."""
        self._file.flush()
        names = CapturedLine.__struct_fields__
        return [
            msgspec.convert(dict(zip(names, row, strict=True)), CapturedLine) for row in self._read(_LINES, (most,))
        ]

    def find(self, name: str) -> tuple[int, CapturedRequest]:
        """The place and the exchange of a place's number, or of a request's id or the only one that ends or begins with
        it. Waits for the disk. Raises UsageError where there is none or several, CapturesUnreadable."""
        self._file.flush()
        number = int(name) if name.isascii() and name.isdigit() and len(name) < PLACE_DIGITS else None
        found = self._read(_FIND, (name, number))
        if not found:
            raise UsageError(f"No request {name!r} was captured, or it has left the ring; `tui requests` lists them.")
        if len(found) > 1:
            raise UsageError(f"Several captured requests go by {name!r}; take the number that `tui requests` shows.")
        place, *values = found[0]
        fields = dict(zip(CapturedRequest.__struct_fields__, values, strict=True))
        fields["headers"] = msgspec.json.decode(str(fields["headers"]))
        return msgspec.convert(place, int), msgspec.convert(fields, CapturedRequest)

    def remove(self, places: Sequence[int] | None) -> int:
        """Forget some, or all for None; how many that were. Waits for the disk. Raises CapturesUnreadable."""
        self._file.flush()
        if not self.path.exists():
            return 0
        removed: list[int] = []

        def delete(database: sqlite3.Connection) -> None:
            if places is None:
                removed.append(database.execute("DELETE FROM exchanges").rowcount)
            else:
                removed.extend(
                    database.execute("DELETE FROM exchanges WHERE place = ?", (place,)).rowcount for place in places
                )

        self._file.put(delete)
        if not self._file.flush():
            raise CapturesUnreadable(f"{self.path.name} is held by another process; try again.")
        return sum(removed)

    def flush(self, seconds: float) -> bool:
        """Wait until what was captured is written, for so long at most; whether it is."""
        return self._file.flush(seconds)

    def close(self) -> None:
        """Write what waits."""
        self._file.close()

    def _read(self, query: str, values: Sequence[Value]) -> list[tuple[Value, ...]]:
        try:
            return self._file.read(query, values)
        except (sqlite3.Error, OSError) as error:
            raise CapturesUnreadable(
                f"The captured requests in {self.path} cannot be read: {error}; delete the file to begin anew."
            ) from error
