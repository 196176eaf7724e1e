"""One running download: fetches its files in order, each on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from core.errors import BenchtopError, DownloadError, HubError
from core.models.downloads.concurrency import Seat, Slots
from core.models.downloads.disk_space import count_missing_bytes, explain_disk_error
from core.models.downloads.remote_file import look_up_file
from core.models.downloads.status import DownloadState
from core.models.downloads.transfer import Line, Transfer
from core.models.hub.endpoint import RepoCache
from core.models.hub.repository import Quant, RepoFile
from core.retry import Stopped
from core.telemetry.log import get_logger
from core.telemetry.rate import RateMeter

log = get_logger(__name__)


class StopWish(Enum):
    """Why a download was stopped."""

    NONE = "none"
    PAUSE = "pause"
    CANCEL = "cancel"
    DISCARD = "discard"
    CLOSE = "close"
    """The program ends, and the next start goes on with the download."""


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a job, called on its threads."""

    changed: Callable[[], None]
    arrived: Callable[[str], None]
    """Told the path of each file that was not here before."""


class DownloadJob:
    """A download from the moment it is started to the moment it ends."""

    def __init__(self, number: int, quant: Quant, line: Line, slots: Slots, hooks: Hooks) -> None:
        """`number` tells its turn in the queue: the lowest first."""
        self.number = number
        self.quant = quant
        self.wish = StopWish.NONE
        self.state = DownloadState.QUEUED
        self.note: str | None = None
        self._again = 0.0
        """When the next try is, by the monotonic clock."""
        self.stop = threading.Event()
        self.ended = threading.Event()
        self._line = line
        self._slots = slots
        self._hooks = hooks
        self._cache = RepoCache(line.access.cache, quant.repo, quant.revision)
        self._held = {file.path: self._cache.held(file) for file in quant.files}
        self._meter = RateMeter()
        self._guard = threading.Lock()
        self._transfers: set[Transfer] = set()
        self._failure: BaseException | None = None

    @property
    def done(self) -> int:
        return sum(self._held.values())

    @property
    def rate(self) -> float:
        return self._meter.rate() if self.state.active else 0.0

    @property
    def again(self) -> float | None:
        """Seconds until the next try; None while the job does not wait for one."""
        return max(0.0, self._again - time.monotonic()) if self.state is DownloadState.RETRYING else None

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return max(0, self.quant.size - self.done)

    def halt(self, wish: StopWish) -> None:
        """Stop as soon as possible; what is on the disk stays there."""
        self.wish = wish
        self._stop_all()

    def run(self) -> None:
        """Fetch everything. Raises Stopped, HubError, DownloadError."""
        try:
            self._fetch_all()
            self._note_branch()
        except OSError as error:
            raise self._told(error) from error

    # What transfers tell.

    def holds(self, path: str, size: int) -> None:
        self._held[path] = size

    def received(self, count: int) -> None:
        with self._guard:
            self._meter.add(count)
        self._hooks.changed()

    def retrying(self, reason: str, seconds: float) -> None:
        self._again = time.monotonic() + seconds
        self._move(DownloadState.RETRYING, reason)

    def waiting(self, reason: str) -> None:
        self._move(DownloadState.QUEUED, reason)

    def running(self) -> None:
        self._move(DownloadState.RUNNING)

    def verifying(self) -> None:
        if self.missing == 0:
            self._move(DownloadState.VERIFYING)
        else:
            self._move(DownloadState.RUNNING, "What is here already is read for its checksum.")

    def _move(self, state: DownloadState, note: str | None = None) -> None:
        if (state, note) != (self.state, self.note):
            self.state, self.note = state, note
            self._hooks.changed()

    # Doing it.

    def _fetch_all(self) -> None:
        threads = []
        for file in self.quant.files:
            seat = Seat(self._slots, self.number, self.stop)
            if not seat.take():
                break
            thread = threading.Thread(target=self._fetch, args=(file, seat), name=f"download {file.path}", daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        if self.stop.is_set():
            raise Stopped

    def _fetch(self, file: RepoFile, seat: Seat) -> None:
        rest = partial(self._rest, seat)
        transfer = Transfer(self._line, self.quant.repo, self.quant.revision, file, self.stop, self, rest)
        self._transfers.add(transfer)
        try:
            if transfer.run():
                self._hooks.arrived(file.path)
        except Stopped:
            # `_fetch_all` sees by the event that the job was stopped.
            return
        except (BenchtopError, OSError) as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._transfers.discard(transfer)
            seat.give()

    def _rest(self, seat: Seat, seconds: float) -> bool:
        """Give the slot to other files until the next try, then wait for a slot in the order of the queue."""
        seat.give()
        if self.stop.wait(seconds):
            return True
        self._move(DownloadState.QUEUED)
        return not seat.take()

    def _fail(self, error: BaseException) -> None:
        """Keep the first error as the reason, and stop the other files of this download."""
        with self._guard:
            self._failure = self._failure or error
        self._stop_all()

    def _stop_all(self) -> None:
        self.stop.set()
        self._slots.wake()
        for transfer in list(self._transfers):
            transfer.interrupt()

    def _note_branch(self) -> None:
        """Where this commit is the newest, let the cache's `main` lead to it: programs look there that load a model by
        its name alone.

        Where that fails, such a program does not find the model without network; nothing else is lost.
        """
        from huggingface_hub import hf_hub_download

        first, access = self.quant.files[0], self._line.access
        try:
            if (
                look_up_file(self._line.client, access, self.quant.repo, "main", first.path).commit
                != self.quant.revision
            ):
                return
            hf_hub_download(
                self.quant.repo,
                first.path,
                revision="main",
                cache_dir=access.cache,
                endpoint=access.endpoint,
                token=access.token or False,
            )
        except (HubError, OSError) as error:
            log.warning("the branch of a download is not noted", name=self.quant.name, cause=str(error))

    def _told(self, error: OSError) -> DownloadError:
        full = explain_disk_error(
            self.quant.name, error, self.quant.size - count_missing_bytes(self.quant, self._cache)
        )
        if full is not None:
            return full
        reason = error.strerror or str(error)
        return DownloadError(
            f"{self.quant.name} could not be written to {self._line.access.cache} ({reason}); what is there is kept."
        )
