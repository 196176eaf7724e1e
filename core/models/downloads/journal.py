"""The queue on disk: a line of JSON for each thing that happened, so that no crash costs more than the last line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.files import append_line, read_regular, write_atomically
from core.kept import MOST_FILE_BYTES
from core.models.downloads.status import DownloadState
from core.models.hub.repository import Quant

COMPACT_FROM_BYTES = 256 * 1024
"""Bytes of a journal that are worth writing anew, shorter."""
NAME = "journal.jsonl"
KEPT_ENDED_DOWNLOADS = 50
"""Ended downloads that a shortened journal still tells of."""


class Added(Struct, frozen=True, tag="added"):
    id: str
    quant: Quant


class Moved(Struct, frozen=True, tag="moved"):
    """A download changed its state."""

    id: str
    state: DownloadState
    error: str | None = None


class Fetched(Struct, frozen=True, tag="fetched"):
    """A file was downloaded that was not on this machine before."""

    id: str
    path: str


class Discarded(Struct, frozen=True, tag="discarded"):
    """The files that a download fetched were deleted."""

    id: str


class Forgotten(Struct, frozen=True, tag="forgotten"):
    """A download is no longer listed."""

    id: str


Record = Added | Moved | Fetched | Discarded | Forgotten


class JournalEntry(Struct, frozen=True):
    """All that is known of a download."""

    id: str
    quant: Quant
    state: DownloadState = DownloadState.QUEUED
    error: str | None = None
    fetched: tuple[str, ...] = ()


Stamp = tuple[int, int, int]
"""Time of the last change, size and inode: differs from before once a file was written to."""


class DownloadJournal:
    """Written by one process at a time, the one that holds the folder; read by any. Every method raises OSError where
    the disk does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, *records: Record) -> None:
        append_line(self._path, b"\n".join(map(msgspec.json.encode, records)))

    def entries(self) -> dict[str, JournalEntry]:
        """By id, in the order in which they were added."""
        return replay_journal(self._read())

    def stamp(self) -> Stamp | None:
        """None where there is no journal yet."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def compact(self) -> None:
        """Write a long journal anew, with one or two lines for each download."""
        if not self._path.is_file() or self._path.stat().st_size < COMPACT_FROM_BYTES:
            return
        kept = _worth_keeping(list(replay_journal(self._read()).values()))
        write_atomically(self._path, b"".join(msgspec.json.encode(record) + b"\n" for record in _records(kept)))

    def _read(self) -> bytes:
        try:
            return read_regular(self._path, MOST_FILE_BYTES)
        except FileNotFoundError:
            return b""


def replay_journal(content: bytes) -> dict[str, JournalEntry]:
    """The entries after all records of a journal. A damaged line, such as a torn last one, is passed over."""
    entries: dict[str, JournalEntry] = {}
    decoder = msgspec.json.Decoder(Record)
    for line in content.splitlines():
        try:
            record = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        _apply(entries, record)
    return entries


def _apply(entries: dict[str, JournalEntry], record: Record) -> None:
    known = entries.get(record.id)
    match record:
        case Added(id=key, quant=quant):
            entries[key] = JournalEntry(key, quant) if known is None else replace(known, quant=quant)
        case Moved(state=state, error=error) if known is not None:
            entries[record.id] = replace(known, state=state, error=error)
        case Fetched(path=path) if known is not None and path not in known.fetched:
            entries[record.id] = replace(known, fetched=(*known.fetched, path))
        case Discarded() if known is not None:
            entries[record.id] = replace(known, fetched=())
        case Forgotten():
            entries.pop(record.id, None)
        case _:
            # The record is of a download whose `Added` is lost.
            pass


def _worth_keeping(entries: list[JournalEntry]) -> list[JournalEntry]:
    over = (DownloadState.DONE, DownloadState.CANCELLED)
    ended = [entry.id for entry in entries if entry.state in over]
    dropped = set(ended[:-KEPT_ENDED_DOWNLOADS])
    return [entry for entry in entries if entry.id not in dropped]


def _records(entries: Iterable[JournalEntry]) -> Iterable[Record]:
    for entry in entries:
        yield Added(entry.id, entry.quant)
        yield Moved(entry.id, entry.state, entry.error)
        yield from (Fetched(entry.id, path) for path in entry.fetched)
