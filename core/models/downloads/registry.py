"""What is known of the downloads: the journal's word, what other processes wrote in it, and what lies on the disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from msgspec.structs import replace

from core.errors import DownloadError, DownloadNotFound
from core.models.downloads.disk_space import missing
from core.models.downloads.job import Job
from core.models.downloads.journal import NAME, Entry, Fetched, Forgotten, Journal, Moved, Record
from core.models.downloads.peers import Others
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.endpoint import HubPlace, RepoCache, hub_place
from core.models.hub.repository import Quant
from core.telemetry.log import get_logger

log = get_logger(__name__)


class Known:
    """A download: what the journal says, and the job while there is one."""

    def __init__(self, entry: Entry, done: int) -> None:
        self.entry = entry
        self.done = done
        """Bytes on the disk, as of the end of the last job."""
        self.job: Job | None = None
        self.told: tuple[DownloadState, float] = (entry.state, 0.0)

    @property
    def active(self) -> Job | None:
        return self.job if self.job is not None and not self.job.ended.is_set() else None

    @property
    def paused(self) -> bool:
        return self.active is None and self.entry.state is DownloadState.PAUSED

    @property
    def interrupted(self) -> bool:
        """It was under way when the program ended."""
        return self.active is None and self.entry.state.active

    def item(self) -> DownloadItem:
        quant, job = self.entry.quant, self.active
        made = DownloadItem(self.entry.id, quant.name, self.entry.state, quant.size, self.done, error=self.entry.error)
        if job is not None:
            return replace(
                made, state=job.state, done=job.done, rate=job.rate, note=job.note, again=job.again, error=None
            )
        return replace(made, state=DownloadState.PAUSED) if self.interrupted else made


class Listing:
    """Every method may be called from any thread."""

    def __init__(self, folder: Path, place: HubPlace | None) -> None:
        """The journal lies in `folder`. `place` is as the environment has it where it is not given."""
        self._folder = folder
        self._given_place = place
        self._known: dict[str, Known] | None = None
        self._told: set[str] = set()
        """Why the journal cannot be read or written, as far as it was told."""
        self.journal = Journal(folder / NAME)
        self.others = Others(folder, self.journal)
        self.lock = threading.RLock()
        """Held while something is decided on what is known."""

    @property
    def looked(self) -> tuple[Known, ...]:
        """Those that this process has come to know, without another look."""
        with self.lock:
            return tuple((self._known or {}).values())

    def all(self) -> tuple[Known, ...]:
        """In the order in which they were first asked for."""
        with self.lock:
            return tuple(self._items().values())

    def get(self, key: str) -> Known | None:
        with self.lock:
            return self._items().get(key)

    def find(self, key: str) -> Known:
        """Raises DownloadNotFound."""
        known = self.get(key)
        if known is None:
            raise DownloadNotFound(f"There is no download {key[:64]!r}; the list of downloads has their ids.")
        return known

    def add(self, known: Known) -> None:
        with self.lock:
            self._items()[known.entry.id] = known

    def item(self, known: Known) -> DownloadItem:
        """As it is shown, also while another process is at it."""
        with self.lock:
            item = known.item()
            if (other := self._elsewhere(known)) is None:
                return item
            done = self.held(known.entry.quant)
            return replace(item, state=DownloadState.RUNNING, done=done, note=f"{other} is downloading it.")

    def require_mine(self, known: Known) -> None:
        """Raises DownloadError where another process is at a download: it would go on, whatever is written here."""
        if (other := self._elsewhere(known)) is not None:
            raise DownloadError(f"{other} is downloading {known.entry.quant.name}; stop it there.")

    def held(self, quant: Quant) -> int:
        """Bytes of it on the disk."""
        return quant.size - missing(quant, self.cache(quant))

    def cache(self, quant: Quant) -> RepoCache:
        return RepoCache(self.place().cache, quant.repo, quant.revision)

    def place(self) -> HubPlace:
        if self._given_place is None:
            self._given_place = hub_place()
        return self._given_place

    def write(self, *records: Record) -> None:
        """Remember what happened. A disk that does not take it must not stop a download, which lies elsewhere: the
        next start does not know of it, and that is told once."""
        try:
            self.journal.append(*records)
        except OSError as error:
            if (why := error.strerror or str(error)) not in self._told:
                self._told.add(why)
                log.warning("downloads are not remembered", folder=str(self._folder), why=why)

    def drop(self, known: Known) -> None:
        """List it no longer."""
        with self.lock:
            self.write(Forgotten(known.entry.id))
            self._items().pop(known.entry.id, None)

    def move(self, known: Known, state: DownloadState, error: str | None = None) -> None:
        """Remember a state."""
        process = os.getpid() if state is DownloadState.RUNNING else None
        known.entry = replace(known.entry, state=state, error=error)
        self.write(Moved(known.entry.id, state, process, error))

    def is_mine(self, known: Known) -> bool:
        """Whether nobody else has fetched it, or is at it."""
        with self.lock:
            return known.entry.state is not DownloadState.DONE and self.others.fetching(known.entry) is None

    def recall(self, known: Known) -> None:
        """Take the journal's word for a download at which another process may have been all the time."""
        with self.lock:
            try:
                told = self.journal.entries().get(known.entry.id)
            except OSError as error:
                log.warning("the list of downloads cannot be read again", reason=str(error))
                return
            if told is None:
                self._items().pop(known.entry.id, None)
            else:
                known.entry, known.done = told, self._done(told)

    def arrived(self, known: Known, path: str) -> None:
        """Remember a file that was fetched."""
        with self.lock:
            known.entry = replace(known.entry, fetched=(*known.entry.fetched, path))
        self.write(Fetched(known.entry.id, path))

    def _items(self) -> dict[str, Known]:
        """With what other processes wrote meanwhile; of what this one is at, it knows best."""
        idle = {key for key, known in (self._known or {}).items() if known.active is None}
        if self._known is None:
            self._compact()
        try:
            news = self.others.news()
        except OSError as error:
            # What is under way here needs nothing of it, and what cannot be read counts as not kept.
            if (why := error.strerror or str(error)) not in self._told:
                self._told.add(why)
                log.warning("the list of downloads cannot be read", folder=str(self._folder), why=why)
            self._known = self._known or {}
            return self._known
        items = self._known = {} if self._known is None else self._known
        for key, entry in news.items():
            if entry is None and key in idle:
                del items[key]
            elif entry is not None and key not in items:
                items[key] = Known(entry, self._done(entry))
            elif entry is not None and key in idle:
                items[key].entry, items[key].done = entry, self._done(entry)
        return items

    def _compact(self) -> None:
        try:
            self.journal.compact()
        except OSError as error:
            log.debug("the list of downloads stays as long as it is", why=str(error))

    def _elsewhere(self, known: Known) -> str | None:
        """Who is at it now that is not this process. Whatever the journal says last: others may have written it."""
        if known.active is not None or known.entry.state is DownloadState.DONE:
            return None
        return self.others.fetching(known.entry)

    def _done(self, entry: Entry) -> int:
        return entry.quant.size if entry.state is DownloadState.DONE else self.held(entry.quant)
