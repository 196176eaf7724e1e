"""The loop of an embedder: what waits together is computed together.

One thread owns the model. Each turn it takes waiting requests up to the model's slots, lets a pure function choose the
inputs of the next pass (`core.tasks.embed.count_fitting`), and runs that pass. The request that has waited longest is
first, and a new request comes before those served in the pass before, so that large and small requests do not hold up
one another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from core.contract.models import Embedder
from core.errors import BenchtopError, Cancelled, EngineFailed, Interrupted, ModelNotReady
from core.events import Embedded, Event, Failed, Finished, FinishReason, Timings, Usage
from core.requests import Embedding
from core.serving.queue import AdmissionQueue
from core.serving.stream import Stream
from core.snapshots import CacheStats, RequestRow, RequestState
from core.tasks.embed import count_fitting, shorten_vector
from core.telemetry.log import get_logger
from core.telemetry.rate import RateMeter

ROWS = 256
"""Inputs of one request in a pass, at most."""
log = get_logger(__name__)


class EmbedJob:
    """A request while it is served. The loop's thread writes, any may read."""

    def __init__(self, request: Embedding, inputs: Sequence[Sequence[int]]) -> None:
        self.request = request
        self.inputs = inputs
        self.stream: Stream
        self.submitted = time.monotonic()
        self.claimed: float | None = None
        self.cancelled = False
        self.pending: deque[int] = deque(sorted(range(len(inputs)), key=lambda place: -len(inputs[place])))
        """Places of the inputs that have no vector yet, longest first."""
        self.vectors: list[bytes] = [b""] * len(inputs)
        self.computed = 0
        """Tokens."""
        self.due = (0, False)
        """After which pass it came or was served last, and whether it was served: the smallest is first."""
        self.tokens = sum(map(len, inputs))

    @property
    def lengths(self) -> list[int]:
        """Of what is pending, as far as a pass may reach."""
        return [len(self.inputs[place]) for place in islice(self.pending, ROWS)]

    def take(self, count: int) -> list[int]:
        return [self.pending.popleft() for _ in range(count)]

    def store(self, place: int, vector: bytes) -> None:
        self.vectors[place] = shorten_vector(vector, self.request.dimensions)
        self.computed += len(self.inputs[place])

    def events(self, now: float) -> list[Event]:
        """Of a request that is complete."""
        claimed = self.claimed or now
        timings = Timings(queued=claimed - self.submitted, prefill=now - claimed)
        usage = Usage(prompt_tokens=self.tokens)
        return [Embedded(0, tuple(self.vectors)), Finished(0, FinishReason.STOP, usage, timings)]

    def row(self, now: float) -> RequestRow:
        spent = now - self.claimed if self.claimed is not None else 0.0
        return RequestRow(
            id=self.request.request_id,
            model=self.request.model,
            state=RequestState.QUEUED if self.claimed is None else RequestState.PREFILL,
            prompt_tokens=self.tokens,
            cached_tokens=0,
            prefilled=self.computed,
            completion_tokens=0,
            rate=0.0,
            eta=spent * (self.tokens - self.computed) / self.computed if self.computed else None,
            waited=(self.claimed or now) - self.submitted,
            elapsed=now - self.submitted,
        )


class EmbeddingLoop:
    """Runs until `stop`. `run` is the body of the thread that loaded the model; the rest is for other threads.

    `broken` is told when it ends by a fault.
    """

    def __init__(
        self,
        name: str,
        model: Embedder,
        queue: AdmissionQueue[EmbedJob],
        *,
        broken: Callable[[BenchtopError], None],
    ) -> None:
        self._name = name
        self._model = model
        self._queue = queue
        self._broken = broken
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: list[EmbedJob] = []
        self._passes = 0
        self._passing: tuple[EmbedJob, ...] = ()
        """Those in the pass under way."""
        self.decoded = RateMeter()
        """Stays at zero: nothing is decoded."""
        self.prefilled = RateMeter()

    def submit(self, job: EmbedJob) -> None:
        self._queue.put(job)
        self._arrived.set()
        if self._stopping.is_set():
            self._fail_waiting()

    def withdraw(self, job: EmbedJob) -> bool:
        """Take a request that waited too long out of the queue; False when it is being served already."""
        return self._queue.withdraw(job, timed_out=True)

    def cancel(self, job: EmbedJob) -> None:
        with self._lock:
            job.cancelled = True
            if self._passing and all(each.cancelled for each in self._passing):
                self._model.interrupt(True)
        if self._queue.withdraw(job, timed_out=False):
            _deliver(job, [Failed(Cancelled())])

    def stop(self) -> None:
        """End `run`; what is running or waiting fails."""
        with self._lock:
            self._stopping.set()
            self._model.interrupt(True)
        self._arrived.set()

    def rows(self) -> list[RequestRow]:
        now = time.monotonic()
        return [job.row(now) for job in self._jobs()]

    def find(self, request_id: str) -> EmbedJob | None:
        return next((job for job in self._jobs() if job.request.request_id == request_id), None)

    @property
    def active(self) -> int:
        return len(self._running)

    @property
    def cells_used(self) -> int:
        """Always zero: an embedder keeps no state."""
        return 0

    def cache_stats(self) -> CacheStats:
        return CacheStats()

    def run(self) -> None:
        """Serve until stopped, then free the model."""
        try:
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:
            # The edge of the loop: whatever it was, the requests must be told and /health must know.
            log.exception("embedding loop died", model=self._name)
            self._broken(EngineFailed(f"Serving {self._name} ended by a fault of the workbench: {error!r}."))
            self._stopping.set()
        finally:
            self._fail_waiting()
            for job in tuple(self._running):
                self._end(job, [Failed(self._unloading())])
            self._model.shutdown()

    # On the loop's thread.

    def _turn(self) -> None:
        self._admit()
        for job in tuple(self._running):
            if job.cancelled:
                self._end(job, [Failed(Cancelled())])
        if self._running:
            self._pass()
            return
        self._arrived.wait()
        self._arrived.clear()

    def _admit(self) -> None:
        slots = max(1, self._model.spec.slots)
        while len(self._running) < slots and (job := self._queue.peek()) is not None:
            if self._queue.claim(job):
                job.claimed = time.monotonic()
                job.due = (self._passes, False)
                self._running.append(job)

    def _pass(self) -> None:
        jobs = sorted(self._running, key=lambda job: job.due)
        counts = count_fitting([job.lengths for job in jobs], self._model.spec.batch)
        taken = [(job, place) for job, count in zip(jobs, counts, strict=True) for place in job.take(count)]
        included = tuple(job for job, count in zip(jobs, counts, strict=True) if count)
        try:
            vectors = self._compute(included, [job.inputs[place] for job, place in taken])
        except Interrupted:
            # Nobody wanted it any more: its requests are cancelled, or the loop is stopping.
            return
        except BenchtopError as error:
            self._fail(included, error)
            return
        except Exception as error:
            # A model may fail in any way, and only the requests of this pass must suffer.
            log.exception("embedding failed", model=self._name)
            self._fail(included, EngineFailed(f"The model {self._name} failed: {error!r}."))
            return
        for (job, place), vector in zip(taken, vectors, strict=True):
            job.store(place, vector)
        self.prefilled.add(sum(len(job.inputs[place]) for job, place in taken))
        self._passes += 1
        for job in included:
            job.due = (self._passes, True)
            if not job.pending and not job.cancelled:
                self._end(job, job.events(time.monotonic()))

    def _compute(self, jobs: tuple[EmbedJob, ...], inputs: Sequence[Sequence[int]]) -> Sequence[bytes]:
        with self._lock:
            self._passing = jobs
            self._model.interrupt(self._stopping.is_set() or all(job.cancelled for job in jobs))
        try:
            return self._model.embed(inputs)
        finally:
            with self._lock:
                self._passing = ()

    def _fail(self, jobs: Sequence[EmbedJob], error: BenchtopError) -> None:
        log.warning("embedding failed", model=self._name, why=str(error))
        for job in jobs:
            self._end(job, [Failed(Cancelled() if job.cancelled else error)])

    def _end(self, job: EmbedJob, events: Sequence[Event]) -> None:
        self._running.remove(job)
        self._queue.done(time.monotonic() - (job.claimed or 0.0), cancelled=job.cancelled)
        _deliver(job, events)

    def _fail_waiting(self) -> None:
        for job in self._queue.drain():
            _deliver(job, [Failed(self._unloading())])

    def _unloading(self) -> ModelNotReady:
        return ModelNotReady(self._name, f"The model {self._name} is being unloaded; ask again later.")

    def _jobs(self) -> list[EmbedJob]:
        return [*tuple(self._running), *self._queue.waiting()]


def _deliver(job: EmbedJob, events: Sequence[Event]) -> None:
    try:
        job.stream.loop.call_soon_threadsafe(job.stream.deliver, events)
    except RuntimeError:
        # The front end's event loop has been closed: nobody is left to be told.
        log.debug("dropped events of a closed event loop", request=job.request.request_id)
