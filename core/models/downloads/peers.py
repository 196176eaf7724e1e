"""What other processes do with the downloads of one list, and write into its journal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from core.models.downloads.discard import running
from core.models.downloads.journal import Entry, Journal, Stamp, lock_of


class Others:
    """Of the list in `folder`. `news` is for one thread at a time; methods raise OSError."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._stamp: Stamp | None = None
        self._entries: dict[str, Entry] = {}

    def news(self) -> Mapping[str, Entry | None]:
        """What the journal says anew since the last call, by id; None of what is listed no longer. What this process
        wrote itself is among it. Costs a look at the file's date where nothing was written."""
        # Taken before it is read: what is written meanwhile is read once more.
        stamp = self._journal.stamp()
        if stamp == self._stamp:
            return {}
        before, now = self._entries, self._journal.entries()
        self._stamp, self._entries = stamp, now
        changed = {key: entry for key, entry in now.items() if before.get(key) != entry}
        return {**changed, **dict.fromkeys(before.keys() - now.keys())}

    def owner(self, key: str) -> str:
        """Who was at a download last, as the beginning of a sentence."""
        entry = self._journal.entries().get(key)
        return _named(entry.process) if entry is not None else _named(None)

    def fetching(self, entry: Entry) -> str | None:
        """Who fetches a download now, of which this process knows that it does not."""
        # The lock is asked last: to ask is to hold it for a moment, in which somebody else may want it.
        alive = entry.process not in (None, os.getpid()) and psutil.pid_exists(entry.process or 0)
        return _named(entry.process) if alive and running(lock_of(self._folder, entry.id)) else None


def _named(process: int | None) -> str:
    return f"Process {process}" if process else "Another process"
