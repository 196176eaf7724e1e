"""The downloads of a workbench: queued, fetched, paused, resumed; remembered across restarts."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from core.config import DownloadSettings
from core.errors import BenchtopError, DownloadError, DownloadNotFound
from core.models.downloads.discard import claimed, discard
from core.models.downloads.items import DownloadItem, DownloadState, Resumed
from core.models.downloads.journal import (
    NAME,
    Added,
    Discarded,
    Entry,
    Fetched,
    Forgotten,
    Journal,
    Moved,
    Record,
    lock_of,
)
from core.models.downloads.others import Others
from core.models.downloads.patience import Patience, Stopped
from core.models.downloads.place import HubPlace, RepoCache, check_quant, hub_place
from core.models.downloads.remote import client_for
from core.models.downloads.slots import Slots
from core.models.downloads.space import check_room, free_bytes, missing
from core.models.downloads.throttle import Throttle
from core.models.downloads.transfer import Line
from core.models.downloads.work import Hooks, Job, Wish
from core.models.repository import Quant
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT = 10.0
STOP_PATIENCE = 5.0
"""Seconds that `pause`, `cancel` and `close` wait for threads to end; an attempt to connect may take longer."""
TELL_EVERY = 0.1
"""Seconds between two reports of progress of one download."""

OUTCOMES = {
    Wish.PAUSE: DownloadState.PAUSED,
    Wish.CANCEL: DownloadState.CANCELLED,
    Wish.DISCARD: DownloadState.CANCELLED,
    Wish.CLOSE: DownloadState.PAUSED,
}

Tell = Callable[[DownloadItem], None]

log = get_logger(__name__)


class _Known:
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


class Downloads:
    """Constructing it is cheap and fetches nothing; every method may be called from any thread, and may block for
    some seconds, so an event loop calls them on a thread of its own."""

    def __init__(
        self,
        folder: Path,
        settings: DownloadSettings = DownloadSettings(),
        place: HubPlace | None = None,
        *,
        patience: Patience | None = None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """The journal lies in `folder`. `place` is as the environment has it where it is not given; `free` tells the
        free bytes of the disk that a path is on."""
        self._folder = folder
        self._settings = settings
        self._given_place = place
        self._patience = patience or Patience(attempts=settings.attempts)
        self._free = free
        self._journal = Journal(folder / NAME)
        self._others = Others(folder, self._journal)
        self._slots = Slots(settings.concurrency)
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._known: dict[str, _Known] | None = None
        self._line: Line | None = None
        self._client: httpx.Client | None = None
        self._listeners: list[Tell] = []

    def enqueue(self, quant: Quant) -> str:
        """Queue a download and return its id; one that is known already goes on, or is left as it is while it runs.

        Raises RequestError for names that may not be written, HubUnreachable when offline, DiskFull, DownloadError.
        """
        check_quant(quant)
        key = hashlib.sha256(f"{quant.repo}@{quant.revision}:{quant.label}".encode()).hexdigest()[:12]
        with self._lock:
            known = self._items().get(key)
            if known is None or (known.entry.quant != quant and known.active is None):
                entry = Entry(key, quant) if known is None else replace(known.entry, quant=quant)
                known = _Known(entry, self._held(quant))
                self._permit(known)
                self._write(Added(key, quant))
                self._items()[key] = known
        self._go_on(known)
        return key

    def resume(self, key: str) -> None:
        """Go on with a download that is paused, failed or cancelled. Raises DownloadNotFound, and as `enqueue`."""
        known = self._find(key)
        if known.entry.state is not DownloadState.DONE:
            self._go_on(known)

    def resume_pending(self, *, paused: bool = False) -> Resumed:
        """Go on with what was under way when the program last ended, as far as it can; also with what was `paused`.

        Raises DownloadError when the list of downloads cannot be read.
        """
        with self._lock:
            pending = [key for key, known in self._items().items() if known.interrupted or (paused and known.paused)]
        refused: dict[str, BenchtopError] = {}
        for key in pending:
            try:
                self.resume(key)
            except BenchtopError as error:
                # One that finds no room must not keep the others from going on.
                refused[key] = error
        return Resumed(tuple(key for key in pending if key not in refused), refused)

    def pause(self, key: str) -> None:
        """Stop fetching; what is here is kept, also across restarts. Raises DownloadNotFound, and
        DownloadError where another process is at it."""
        known = self._find(key)
        with self._lock:
            self._require_mine(known)
            if known.interrupted:
                self._move(known, DownloadState.PAUSED)
        self._halt(known, Wish.PAUSE)

    def cancel(self, key: str, *, discard: bool = False) -> None:
        """Give a download up. What was fetched is kept for later unless `discard`, which deletes what this download
        brought, but for what other models here are made of. Raises DownloadNotFound, DownloadError."""
        known = self._find(key)
        if known.active is not None:
            self._halt(known, Wish.DISCARD if discard else Wish.CANCEL)
            return
        with self._lock:
            self._require_mine(known)
        if discard:
            self._discard(known)
        if discard or known.entry.state is not DownloadState.DONE:
            self._move(known, DownloadState.CANCELLED)

    def forget(self, key: str) -> None:
        """List a download no longer that is done, failed or was cancelled; what it brought stays where it is.

        Raises DownloadNotFound, DownloadError for one that is not over, here or in another process.
        """
        known = self._find(key)
        quant = known.entry.quant
        if known.active is not None or not known.entry.state.over:
            raise DownloadError(f"The download of {quant.name} is not over; cancel it first.")
        with claimed(lock_of(self._folder, key), lambda: self._others.owner(key), quant.name):
            self._drop(known)

    def forget_deleted(self, repo: str) -> None:
        """Of downloads from a repository of which a model was deleted: those of which nothing is here any more are
        forgotten, so that nothing goes on with them unasked. Raises DownloadError."""
        with self._lock:
            mine = [known for known in self._items().values() if known.entry.quant.repo == repo]
        for known in mine:
            if known.active is None and self._held(known.entry.quant) == 0:
                self._drop(known)

    def items(self) -> tuple[DownloadItem, ...]:
        """In the order in which they were first asked for."""
        with self._lock:
            return tuple(self._item(known) for known in self._items().values())

    def item(self, key: str) -> DownloadItem:
        """Raises DownloadNotFound."""
        known = self._find(key)
        with self._lock:
            return self._item(known)

    def wait(self, key: str, timeout: float | None = None) -> DownloadItem:
        """Return when nothing more happens with it, or after `timeout` seconds. Raises DownloadNotFound."""
        known = self._find(key)
        if (job := known.active) is not None:
            job.ended.wait(timeout)
        return known.item()

    def listen(self, tell: Tell) -> Callable[[], None]:
        """Have `tell` called with a download whenever its state changes, and now and then while bytes arrive, on the
        threads that fetch; returns what ends that. The last bytes before a pause may be left out: `item` has them."""
        self._listeners.append(tell)
        return lambda: self._listeners.remove(tell)

    def close(self) -> None:
        """Stop everything; `resume_pending` of the next start goes on with it."""
        with self._lock:
            active = [known for known in (self._known or {}).values() if known.active is not None]
        for known in active:
            self._halt(known, Wish.CLOSE, patience=0.0)
        stopped = all(known.job.ended.wait(STOP_PATIENCE) for known in active if known.job is not None)
        if self._client is not None and stopped:
            self._client.close()
            self._client = self._line = None

    # What is known.

    def _items(self) -> dict[str, _Known]:
        """With what other processes wrote meanwhile; of what this one is at, it knows best."""
        idle = {key for key, known in (self._known or {}).items() if known.active is None}
        try:
            if self._known is None:
                self._journal.compact()
            news = self._others.news()
        except OSError as error:
            if self._known is not None:
                # What is under way here needs nothing of it.
                log.warning("the list of downloads cannot be read again", reason=str(error))
                return self._known
            raise DownloadError(f"The list of downloads in {self._folder} cannot be read: {error}.") from error
        items = self._known = {} if self._known is None else self._known
        for key, entry in news.items():
            if entry is None and key in idle:
                del items[key]
            elif entry is not None and key not in items:
                items[key] = _Known(entry, self._done(entry))
            elif entry is not None and key in idle:
                items[key].entry, items[key].done = entry, self._done(entry)
        return items

    def _find(self, key: str) -> _Known:
        with self._lock:
            known = self._items().get(key)
        if known is None:
            raise DownloadNotFound(f"There is no download {key[:64]!r}; the list of downloads has their ids.")
        return known

    def _item(self, known: _Known) -> DownloadItem:
        item = known.item()
        if not known.interrupted or (other := self._others.fetching(known.entry)) is None:
            return item
        done = self._held(known.entry.quant)
        return replace(item, state=DownloadState.RUNNING, done=done, note=f"{other} is downloading it.")

    def _require_mine(self, known: _Known) -> None:
        """Raises DownloadError where another process is at a download: it would go on, whatever is written here."""
        if known.interrupted and (other := self._others.fetching(known.entry)) is not None:
            raise DownloadError(f"{other} is downloading {known.entry.quant.name}; stop it there.")

    def _done(self, entry: Entry) -> int:
        return entry.quant.size if entry.state is DownloadState.DONE else self._held(entry.quant)

    def _held(self, quant: Quant) -> int:
        return quant.size - missing(quant, self._cache(quant))

    def _cache(self, quant: Quant) -> RepoCache:
        return RepoCache(self._place().cache, quant.repo, quant.revision)

    def _place(self) -> HubPlace:
        if self._given_place is None:
            self._given_place = hub_place()
        return self._given_place

    def _write(self, *records: Record) -> None:
        try:
            self._journal.append(*records)
        except OSError as error:
            raise DownloadError(
                f"The list of downloads in {self._folder} cannot be written ({error.strerror}); free some room there."
            ) from error

    def _drop(self, known: _Known) -> None:
        with self._lock:
            self._write(Forgotten(known.entry.id))
            self._items().pop(known.entry.id, None)

    def _move(self, known: _Known, state: DownloadState, error: str | None = None) -> None:
        """Remember a state. A disk that does not take it must not stop the download."""
        process = os.getpid() if state is DownloadState.RUNNING else None
        known.entry = replace(known.entry, state=state, error=error)
        try:
            self._write(Moved(known.entry.id, state, process, error))
        except DownloadError as failure:
            log.warning("the state of a download is not remembered", reason=str(failure))

    # Jobs.

    def _permit(self, known: _Known) -> None:
        """Raises HubUnreachable when offline, HubError for a proxy that is none, DiskFull."""
        self._place().require_network()
        self._shared()
        self._check_room(known)

    def _go_on(self, known: _Known) -> None:
        """Start a download unless it runs. Raises as `_permit`, and DownloadError."""
        job = known.active
        if job is not None and job.wish is not Wish.NONE and not job.ended.wait(STOP_PATIENCE):
            raise DownloadError(f"{known.entry.quant.name} is still being stopped; try again in a moment.")
        with self._lock:
            if known.active is None:
                self._permit(known)
                self._start(known)

    def _start(self, known: _Known) -> None:
        key = known.entry.id
        hooks = Hooks(
            changed=lambda: self._tell(known),
            arrived=lambda path: self._arrived(known, path),
            owner=lambda: self._others.owner(key),
        )
        lock = lock_of(self._folder, key)
        job = Job(next(self._numbers), known.entry.quant, self._shared(), self._slots, lock, hooks)
        self._move(known, DownloadState.QUEUED)
        known.job = job
        threading.Thread(target=self._run, args=(known, job), name=f"download {job.quant.name}", daemon=True).start()

    def _run(self, known: _Known, job: Job) -> None:
        state, error = DownloadState.FAILED, None
        self._tell(known)
        try:
            job.run(lambda: self._started(known))
            state = DownloadState.DONE
        except Stopped:
            state = OUTCOMES.get(job.wish, DownloadState.PAUSED)
        except BenchtopError as failure:
            error = str(failure)
        except BaseException as failure:
            error = f"This is a fault of benchtop, not yours: {type(failure).__name__}: {failure}."
            raise
        finally:
            self._settle(known, job, state, error)

    def _settle(self, known: _Known, job: Job, state: DownloadState, error: str | None) -> None:
        if job.wish is Wish.DISCARD and state is DownloadState.CANCELLED:
            try:
                self._discard(known)
            except DownloadError as failure:
                state, error = DownloadState.FAILED, str(failure)
        known.done = known.entry.quant.size if state is DownloadState.DONE else self._held(known.entry.quant)
        if job.wish is not Wish.CLOSE or state is not DownloadState.PAUSED:
            self._move(known, state, error)
        job.ended.set()
        self._tell(known)

    def _started(self, known: _Known) -> None:
        with self._lock:
            self._check_room(known)
        self._move(known, DownloadState.RUNNING)

    def _arrived(self, known: _Known, path: str) -> None:
        with self._lock:
            known.entry = replace(known.entry, fetched=(*known.entry.fetched, path))
        try:
            self._write(Fetched(known.entry.id, path))
        except DownloadError as failure:
            log.warning("a fetched file is not remembered", path=path, reason=str(failure))

    def _halt(self, known: _Known, wish: Wish, patience: float = STOP_PATIENCE) -> None:
        job = known.active
        if job is not None:
            job.halt(wish)
            job.ended.wait(patience)

    def _discard(self, known: _Known) -> None:
        key, quant = known.entry.id, known.entry.quant
        try:
            with claimed(lock_of(self._folder, key), lambda: self._others.owner(key), quant.name):
                entries = self._journal.entries()
                told = entries.pop(key, known.entry)
                # Another process may have fetched a part of it.
                discard(self._cache(quant), quant, {*known.entry.fetched, *told.fetched}, entries.values())
        except OSError as error:
            raise DownloadError(f"{quant.name} could not be deleted: {error.strerror}.") from error
        known.entry = replace(known.entry, fetched=())
        known.done = self._held(quant)
        self._write(Discarded(key))

    def _check_room(self, known: _Known) -> None:
        """Raises DiskFull."""
        quant, cache = known.entry.quant, self._place().cache
        others = [job.missing for other in self._items().values() if other is not known and (job := other.active)]
        need = missing(quant, self._cache(quant))
        check_room(quant.name, need, others, self._free(cache), self._settings.reserve, cache)

    def _shared(self) -> Line:
        if self._line is None:
            import httpx

            timeout = httpx.Timeout(self._settings.stall_timeout, connect=CONNECT_TIMEOUT, pool=None)
            self._client = client_for(timeout)
            self._line = Line(self._client, self._place(), Throttle(self._settings.bandwidth), self._patience)
        return self._line

    def _tell(self, known: _Known) -> None:
        """Every change of state, and progress now and then."""
        job = known.active
        state, now = job.state if job is not None else known.entry.state, time.monotonic()
        before, at = known.told
        if not self._listeners or (state is before and job is not None and now - at < TELL_EVERY):
            return
        known.told = (state, now)
        item = known.item()
        for tell in tuple(self._listeners):
            tell(item)
