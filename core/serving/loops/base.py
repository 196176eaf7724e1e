"""What every loop does alike: take requests from a queue, find and cancel them, end with all of them told why."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from msgspec.structs import replace

from core.errors import BenchtopError, Cancelled, EngineFailed, ModelNotReady
from core.events import Failed
from core.reuse import CacheStats
from core.serving.answer_lengths import AnswerLengths
from core.serving.job import LoopJob
from core.serving.queue import AdmissionQueue
from core.snapshots import DraftStats, EtaBasis, RequestRow, RequestState
from core.telemetry.log import get_logger
from core.telemetry.rate import RateMeter

ROWS_KEPT = 256
"""Requests that have ended and can still be asked about."""
AnyJob = TypeVar("AnyJob", bound=LoopJob)
log = get_logger(__name__)


class ModelLoop(ABC, Generic[AnyJob]):
    """Serves one model until `stop`. `run` is the body of the thread that loaded the model, and frees it at the end.

    Everything but `run` may be called from any thread.
    """

    def __init__(self, name: str, queue: AdmissionQueue[AnyJob], *, broken: Callable[[BenchtopError], None]) -> None:
        """`broken` is told when the loop ends by a fault."""
        self._name = name
        self._queue = queue
        self._broken = broken
        self._stopping = threading.Event()
        self.decoded = RateMeter()
        """Tokens drawn."""
        self.prefilled = RateMeter()
        """Prompt tokens computed."""
        self._ended: deque[tuple[RequestRow, list[str]]] = deque(maxlen=ROWS_KEPT)
        """With the remarks on its answer, the last of which may still come."""
        self._lengths = AnswerLengths()

    def submit(self, job: AnyJob) -> None:
        self._queue.put(job, job.turn)
        self._wake()
        if self._stopping.is_set():
            # The thread may not look at the queue again.
            self._fail_waiting(self._unloading())

    def withdraw(self, job: AnyJob) -> bool:
        """Take a request that waited too long out of the queue; False when it is being served already."""
        return self._queue.withdraw(job, timed_out=True)

    def cancel(self, job: AnyJob) -> None:
        job.cancelled = True
        if self._queue.withdraw(job, timed_out=False):
            job.stream.post([Failed(Cancelled())])
        else:
            self._interrupt(job)

    def fail_all(self, error: BenchtopError) -> None:
        """Tell all who wait or are served of an error, though the model goes on or hangs. From any thread."""
        for job in self._jobs():
            job.stream.post([Failed(error)])

    def stop(self) -> None:
        """End `run` after the work under way; what is running or waiting fails. Idempotent."""
        self._stopping.set()
        self._wake()

    def rows(self) -> list[RequestRow]:
        now = time.monotonic()
        served = [self._row(job, now) for job in self._served()]
        return [*served, *(self._row(job, now, place) for place, job in enumerate(self._queue.waiting(), 1))]

    def find(self, request_id: str) -> AnyJob | None:
        return next((job for job in self._jobs() if job.request_id == request_id), None)

    def row(self, request_id: str) -> RequestRow | None:
        """Of a request that waits or runs, or that ended lately."""
        job = self.find(request_id)
        if job is not None:
            waiting = self._queue.waiting()
            return self._row(job, time.monotonic(), waiting.index(job) + 1 if job in waiting else 0)
        for row, remarks in reversed(tuple(self._ended)):
            if row.id == request_id:
                return replace(row, notes=tuple(dict.fromkeys((*row.notes, *remarks))))
        return None

    @property
    @abstractmethod
    def active(self) -> int:
        """Slots in use."""

    @property
    def cells_used(self) -> int:
        """Of the KV cache; zero where the model has none here."""
        return 0

    def cache_stats(self) -> CacheStats:
        return CacheStats()

    def draft_stats(self) -> DraftStats | None:
        """None where nothing is guessed."""
        return None

    def run(self) -> None:
        """Serve until stopped or broken, then free the model."""
        error: BenchtopError = self._unloading()
        try:
            self._serve()
        except BenchtopError as failure:
            error = failure
            self._broken(error)
        except BaseException as failure:
            # The edge of the loop: whatever it was, the requests must be told and /health must know. What libraries in
            # Rust raise where they panic is no Exception.
            log.exception("serving loop died", model=self._name)
            error = EngineFailed(f"Serving {self._name} ended by a fault of the workbench: {failure!r}.")
            self._broken(error)
        finally:
            self._fail_waiting(error)
            self.stop()
            self._fail_waiting(self._unloading())
            self._wind_up(error)

    @abstractmethod
    def _served(self) -> Iterable[AnyJob]:
        """Requests that left the queue and have not ended."""

    @abstractmethod
    def _wake(self) -> None:
        """A request has come, or the loop is to stop."""

    @abstractmethod
    def _interrupt(self, job: AnyJob) -> None:
        """A request that is being served was cancelled: end what is computed for it alone."""

    @abstractmethod
    def _serve(self) -> None:
        """Until `_stopping` is set. Raises BenchtopError where the model is given up."""

    @abstractmethod
    def _wind_up(self, error: BenchtopError) -> None:
        """Fail what is still served with `error`, and free the model."""

    def _row(self, job: AnyJob, now: float, place: int = 0) -> RequestRow:
        """`place`: in the queue, from one."""
        row = job.row(now)
        if row.state is RequestState.DECODE and row.eta is None:
            return self._lengths.estimate_end(row, job.request)
        return replace(row, position=place, eta_basis=None if row.eta is None else EtaBasis.PACE)

    def _jobs(self) -> list[AnyJob]:
        return [*self._served(), *self._queue.waiting()]

    def _note_end(self, job: AnyJob) -> None:
        """Keep the row of a request that has ended."""
        row = replace(job.row(time.monotonic()), state=RequestState.ENDED)
        self._ended.append((row, job.remarks))
        if not job.cancelled:
            self._lengths.note_end(row, job.request)

    def _fail_waiting(self, error: BenchtopError) -> None:
        for job in self._queue.drain():
            job.stream.post([Failed(error)])

    def _unloading(self) -> ModelNotReady:
        return ModelNotReady(self._name, f"The model {self._name} is being unloaded; ask again later.")
