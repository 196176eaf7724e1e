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
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from msgspec.structs import replace

from core.contract.models import Embedder
from core.errors import BenchtopError, Cancelled, EngineFailed, Interrupted
from core.events import Embedded, Event, Failed, Finished, FinishReason, Timings, Usage
from core.requests import Embedding
from core.serving.job import LoopJob
from core.serving.loops.base import ModelLoop
from core.serving.queue import AdmissionQueue
from core.snapshots import RequestRow, RequestState
from core.tasks.embed import count_fitting, shorten_vector
from core.telemetry.log import get_logger

MOST_ROWS = 256
"""Inputs of one request in a pass, at most."""
log = get_logger(__name__)


class EmbedJob(LoopJob):
    """A request for vectors while it is served. The loop's thread writes, any thread may read."""

    request: Embedding

    def __init__(self, request: Embedding, inputs: Sequence[Sequence[int]]) -> None:
        super().__init__(request)
        self.inputs = inputs
        self.pending: deque[int] = deque(sorted(range(len(inputs)), key=lambda index: -len(inputs[index])))
        """Indices of the inputs that have no vector yet, longest first."""
        self.vectors: list[bytes] = [b""] * len(inputs)
        self.computed = 0
        """Tokens."""
        self.due = (0, False)
        """After which pass it came or was served last, and whether it was served: the smallest is first."""
        self.tokens = sum(map(len, inputs))

    @property
    def lengths(self) -> list[int]:
        """Of what is pending, as far as a pass may reach."""
        return [len(self.inputs[index]) for index in islice(self.pending, MOST_ROWS)]

    def take(self, count: int) -> list[int]:
        return [self.pending.popleft() for _ in range(count)]

    def store(self, index: int, vector: bytes) -> None:
        self.vectors[index] = shorten_vector(vector, self.request.dimensions)
        self.computed += len(self.inputs[index])

    def events(self, now: float) -> list[Event]:
        """Of a request that is complete."""
        claimed = self.claimed or now
        timings = Timings(queued=claimed - self.submitted, prefill=now - claimed)
        usage = Usage(prompt_tokens=self.tokens)
        return [Embedded(0, tuple(self.vectors)), Finished(0, FinishReason.STOP, usage, timings)]

    def row(self, now: float) -> RequestRow:
        spent = now - self.claimed if self.claimed is not None else 0.0
        return replace(
            self._row(now, RequestState.QUEUED if self.claimed is None else RequestState.PREFILL),
            prompt_tokens=self.tokens,
            prefilled=self.computed,
            eta=spent * (self.tokens - self.computed) / self.computed if self.computed else None,
        )


class EmbeddingLoop(ModelLoop[EmbedJob]):
    """Nothing is decoded, so `decoded` stays at zero."""

    def __init__(
        self,
        name: str,
        model: Embedder,
        queue: AdmissionQueue[EmbedJob],
        *,
        broken: Callable[[BenchtopError], None],
    ) -> None:
        super().__init__(name, queue, broken=broken)
        self._model = model
        self._arrived = threading.Event()
        self._lock = threading.Lock()
        self._running: list[EmbedJob] = []
        self._passes = 0
        self._passing: tuple[EmbedJob, ...] = ()
        """Those in the pass under way."""

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            self._model.interrupt(True)
        self._wake()

    @property
    def active(self) -> int:
        return len(self._running)

    def _served(self) -> Iterable[EmbedJob]:
        return tuple(self._running)

    def _wake(self) -> None:
        self._arrived.set()

    def _interrupt(self, job: EmbedJob) -> None:
        with self._lock:
            if self._passing and all(each.cancelled for each in self._passing):
                self._model.interrupt(True)

    # On the loop's thread.

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._turn()

    def _wind_up(self, error: BenchtopError) -> None:
        for job in tuple(self._running):
            self._end(job, [Failed(error)])
        self._model.shutdown()

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
        taken = [(job, index) for job, count in zip(jobs, counts, strict=True) for index in job.take(count)]
        included = tuple(job for job, count in zip(jobs, counts, strict=True) if count)
        try:
            vectors = self._compute(included, [job.inputs[index] for job, index in taken])
        except Interrupted:
            # The requests of the pass are cancelled, or the loop is stopping.
            return
        except BenchtopError as error:
            self._fail(included, error)
            return
        except Exception as error:
            # A model may fail in any way, and only the requests of this pass must suffer.
            log.exception("embedding failed", model=self._name)
            self._fail(included, EngineFailed(f"The model {self._name} failed: {error!r}."))
            return
        for (job, index), vector in zip(taken, vectors, strict=True):
            job.store(index, vector)
        self.prefilled.add(sum(len(job.inputs[index]) for job, index in taken))
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
        job.stream.post(events)
