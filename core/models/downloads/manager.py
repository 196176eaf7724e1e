"""The downloads of a workbench: queued, fetched, paused, resumed; remembered across restarts."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from core.errors import BenchtopError, DownloadError, DownloadsBusy
from core.models.downloads.bandwidth import Throttle
from core.models.downloads.concurrency import Slots
from core.models.downloads.discard import discard_download
from core.models.downloads.disk_space import check_room, count_missing_bytes, measure_free_bytes
from core.models.downloads.job import DownloadJob, Hooks, StopWish
from core.models.downloads.journal import Added, Discarded, JournalEntry
from core.models.downloads.registry import DownloadRegistry, Known
from core.models.downloads.status import DownloadItem, DownloadState, Resumed
from core.models.downloads.transfer import Line
from core.models.hub.endpoint import HubAccess, check_quant
from core.models.hub.http import build_client
from core.models.hub.repository import Quant
from core.retry import Patience, Stopped
from core.settings.schema import DownloadSettings
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
STOP_SECONDS = 5.0
"""Seconds that `pause`, `cancel` and `close` wait for threads to end; an attempt to connect may take longer."""
REPORT_SECONDS = 0.1
"""Seconds between two reports of progress of one download."""

OUTCOMES = {
    StopWish.PAUSE: DownloadState.PAUSED,
    StopWish.CANCEL: DownloadState.CANCELLED,
    StopWish.DISCARD: DownloadState.CANCELLED,
    StopWish.CLOSE: DownloadState.PAUSED,
}

Tell = Callable[[DownloadItem], None]

log = get_logger(__name__)


class Downloads:
    """Constructing it is cheap and fetches nothing; every method may be called from any thread, and may block for
    some seconds, so an event loop calls them on a thread of its own."""

    def __init__(
        self,
        folder: Path,
        settings: DownloadSettings = DownloadSettings(),
        access: HubAccess | None = None,
        *,
        patience: Patience | None = None,
        free: Callable[[Path], int] = measure_free_bytes,
    ) -> None:
        """The journal lies in `folder`. Without `access` the environment tells the Hub and the cache; `free` tells the
        free bytes of the disk that a path is on."""
        self._settings = settings
        self._patience = patience or Patience(attempts=settings.attempts)
        self._free = free
        self._list = DownloadRegistry(folder, access)
        self._slots = Slots(settings.concurrency)
        self._numbers = itertools.count()
        self._line: Line | None = None
        self._client: httpx.Client | None = None
        self._listeners: list[Tell] = []

    def enqueue(self, quant: Quant) -> str:
        """Queue a download and return its id. A download that is listed already goes on; a running one runs on.

        Raises RequestError for names that may not be written, HubUnreachable when offline, DiskFull, DownloadsBusy,
        DownloadError.
        """
        check_quant(quant)
        key = hashlib.sha256(f"{quant.repo}@{quant.revision}:{quant.label}".encode()).hexdigest()[:12]
        with self._list.claimed():
            with self._list.lock:
                known = self._list.get(key)
                if known is None or (known.entry.quant != quant and known.active is None):
                    known = Known(JournalEntry(key, quant) if known is None else replace(known.entry, quant=quant))
                    self._permit(known)
                    self._list.add(known, Added(key, quant))
            self._go_on(known)
        return key

    def resume(self, key: str) -> None:
        """Go on with a download that is paused, failed or cancelled. Raises DownloadNotFound, and as `enqueue`."""
        with self._list.claimed():
            known = self._list.find(key)
            if known.entry.state is not DownloadState.DONE:
                self._go_on(known)

    def resume_pending(self, *, paused: bool = False) -> Resumed:
        """Go on with the downloads that the last end of the program interrupted; with `paused`, also with paused ones.

        While another process downloads, none is taken for interrupted; with `paused` it raises DownloadsBusy.
        """
        with self._list.lock:
            pending = [known.entry.id for known in self._list.all() if known.interrupted or (paused and known.paused)]
            if not pending or (not paused and self._list.is_elsewhere()):
                return Resumed()
        refused: dict[str, BenchtopError] = {}
        with self._list.claimed():
            for key in pending:
                try:
                    self.resume(key)
                except BenchtopError as error:
                    # A download that finds no room must not keep the others from going on.
                    refused[key] = error
        return Resumed(tuple(key for key in pending if key not in refused), refused)

    def pause(self, key: str) -> None:
        """Stop fetching; what is here is kept, also across restarts.

        Raises DownloadNotFound, DownloadsBusy where another process fetches.
        """
        known = self._list.find(key)
        if known.active is not None:
            self._halt(known, StopWish.PAUSE)
        elif known.interrupted:
            with self._list.claimed():
                self._list.move(self._list.find(key), DownloadState.PAUSED)

    def cancel(self, key: str, *, discard: bool = False) -> None:
        """Give a download up. Its files are kept for later unless `discard_download`, which deletes the files that this
        download fetched, but for those that other models here are made of. Raises DownloadNotFound, DownloadsBusy where
        another process fetches, DownloadError where it cannot be deleted."""
        known = self._list.find(key)
        if known.active is not None:
            self._halt(known, StopWish.DISCARD if discard else StopWish.CANCEL)
            return
        with self._list.claimed():
            known = self._list.find(key)
            if discard:
                self._discard(known)
            if discard or known.entry.state is not DownloadState.DONE:
                self._list.move(known, DownloadState.CANCELLED)

    def forget(self, key: str) -> None:
        """Take a download off the list that is done, failed or cancelled. The files that it fetched stay.

        Raises DownloadNotFound, DownloadsBusy where another process fetches, DownloadError for one that is not over.
        """
        with self._list.claimed():
            known = self._list.find(key)
            if known.active is not None or not known.entry.state.over:
                raise DownloadError(f"The download of {known.entry.quant.name} is not over; cancel it first.")
            self._list.drop(known)

    def forget_deleted(self, repo: str) -> None:
        """After a model of a repository was deleted: forget the downloads from there of which no byte is left, so that
        none of them goes on unasked. Does nothing while another process writes the list."""
        if not any(known.entry.quant.repo == repo for known in self._list.all()):
            return
        with suppress(DownloadsBusy), self._list.claimed():
            for known in self._list.all():
                quant = known.entry.quant
                if quant.repo == repo and known.active is None and self._list.held(quant) == 0:
                    self._list.drop(known)

    def items(self) -> tuple[DownloadItem, ...]:
        """In the order in which they were first asked for."""
        return self._list.items()

    def item(self, key: str) -> DownloadItem:
        """Raises DownloadNotFound."""
        return self._list.item(self._list.find(key))

    @property
    def under_way(self) -> int:
        """How many downloads of this process run or wait for their turn. Does not touch the disk."""
        return sum(known.active is not None for known in self._list.looked)

    def wait(self, key: str, timeout: float | None = None) -> DownloadItem:
        """Return when this process is done with a download, or after `timeout` seconds. Raises DownloadNotFound."""
        known = self._list.find(key)
        if (job := known.active) is not None:
            job.ended.wait(timeout)
        return self._list.item(known)

    def listen(self, tell: Tell) -> Callable[[], None]:
        """Have `tell` called with a download whenever its state changes, and now and then while bytes arrive, on the
        threads that fetch; returns what ends that. The last bytes before a pause may be left out: `item` has them."""
        self._listeners.append(tell)
        return lambda: self._listeners.remove(tell)

    def close(self) -> None:
        """Stop all downloads; `resume_pending` of the next start goes on with them."""
        active = [known for known in self._list.looked if known.active is not None]
        for known in active:
            self._halt(known, StopWish.CLOSE, patience=0.0)
        stopped = all(known.job.ended.wait(STOP_SECONDS) for known in active if known.job is not None)
        if self._client is not None and stopped:
            self._client.close()
            self._client = self._line = None

    def _permit(self, known: Known) -> None:
        """Raises HubUnreachable when offline, HubError for a proxy that is none, DiskFull."""
        self._list.access().require_network()
        self._shared()
        self._check_room(known)

    def _go_on(self, known: Known) -> None:
        """Start a download unless it runs. The folder is held. Raises as `_permit`, and DownloadError."""
        job = known.active
        if job is not None and job.wish is not StopWish.NONE and not job.ended.wait(STOP_SECONDS):
            raise DownloadError(f"{known.entry.quant.name} is still being stopped; try again in a moment.")
        with self._list.lock:
            if known.active is None:
                self._permit(known)
                self._start(known)

    def _start(self, known: Known) -> None:
        hooks = Hooks(
            changed=lambda: self._tell(known),
            arrived=lambda path: self._list.arrived(known, path),
        )
        job = DownloadJob(next(self._numbers), known.entry.quant, self._shared(), self._slots, hooks)
        self._list.claim()
        self._list.move(known, DownloadState.RUNNING)
        known.job = job
        threading.Thread(target=self._run, args=(known, job), name=f"download {job.quant.name}", daemon=True).start()

    def _run(self, known: Known, job: DownloadJob) -> None:
        state, error = DownloadState.FAILED, None
        self._tell(known)
        try:
            job.run()
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

    def _settle(self, known: Known, job: DownloadJob, state: DownloadState, error: str | None) -> None:
        if job.wish is StopWish.DISCARD and state is DownloadState.CANCELLED:
            try:
                self._discard(known)
            except DownloadError as failure:
                state, error = DownloadState.FAILED, str(failure)
        if job.wish is not StopWish.CLOSE or state is not DownloadState.PAUSED:
            self._list.move(known, state, error)
        with self._list.lock:
            # Give up the folder first: a thread that waits for the end may tell another process to go on.
            self._list.give_up()
            job.ended.set()
        self._tell(known)

    def _halt(self, known: Known, wish: StopWish, patience: float = STOP_SECONDS) -> None:
        job = known.active
        if job is not None:
            job.halt(wish)
            job.ended.wait(patience)

    def _discard(self, known: Known) -> None:
        quant = known.entry.quant
        others = [other.entry for other in self._list.all() if other is not known]
        try:
            discard_download(self._list.cache(quant), quant, known.entry.fetched, others)
        except OSError as error:
            raise DownloadError(f"{quant.name} could not be deleted: {error.strerror}.") from error
        known.entry = replace(known.entry, fetched=())
        self._list.write(Discarded(known.entry.id))

    def _check_room(self, known: Known) -> None:
        """Raises DiskFull."""
        quant, cache = known.entry.quant, self._list.access().cache
        others = [job.missing for other in self._list.all() if other is not known and (job := other.active)]
        need = count_missing_bytes(quant, self._list.cache(quant))
        check_room(quant.name, need, others, self._free(cache), self._settings.reserve, cache)

    def _shared(self) -> Line:
        if self._line is None:
            import httpx

            timeout = httpx.Timeout(self._settings.stall_timeout, connect=CONNECT_SECONDS, pool=None)
            self._client = build_client(timeout)
            self._line = Line(self._client, self._list.access(), Throttle(self._settings.bandwidth), self._patience)
        return self._line

    def _tell(self, known: Known) -> None:
        """Report every change of state, and progress now and then."""
        job = known.active
        state, now = job.state if job is not None else known.entry.state, time.monotonic()
        before, at = known.told
        if not self._listeners or (state is before and job is not None and now - at < REPORT_SECONDS):
            return
        known.told = (state, now)
        item = self._list.item(known)
        for tell in tuple(self._listeners):
            tell(item)
