"""The loop of an embedder or a reranker: what waits together is computed together.

One thread owns the model. Each turn it takes waiting requests up to the model's slots, lets a pure function choose the
texts of the next pass (`core.tasks.passes.count_fitting`), and runs that pass. The request that has waited longest is
first, and a new request comes before those served in the pass before, so that large and small requests do not hold up
one another.

A request that finds the model idle is computed at once. Those that were answered together mostly ask again together,
so for a moment behind a pass the next one waits until as many are there: it is cheaper than several small passes.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from msgspec.structs import replace

from core.contract.models import Embedder, Reranker, TokenPair
from core.errors import BenchtopError, Cancelled, EngineFailed, Interrupted
from core.events import Embedded, Event, Failed, Finished, FinishReason, Scored, Timings, Usage
from core.requests import Embedding, Reranking
from core.serving.job import LoopJob
from core.serving.loops.base import ModelLoop
from core.serving.loops.outbox import Outbox
from core.serving.queue import AdmissionQueue
from core.serving.result_cache import ResultCache, name_text
from core.settings.encoding import EncodingSettings
from core.snapshots import RequestRow, RequestState
from core.tasks.embed import shorten_vector
from core.tasks.passes import count_fitting
from core.telemetry.log import get_logger

MOST_ROWS = 256
"""Texts of one request in a pass, at most."""
Text = TypeVar("Text", bound=Sequence[int] | TokenPair)
Result = TypeVar("Result", bound=bytes | float)
log = get_logger(__name__)


class EncodingJob(LoopJob, Generic[Text, Result]):
    """A request for vectors or scores while it is served. The loop's thread writes, any thread may read."""

    request: Embedding | Reranking

    def __init__(self, request: Embedding | Reranking, texts: Sequence[Text], nothing: Result) -> None:
        """`nothing` stands for a result that is not there yet."""
        super().__init__(request)
        self.texts = texts
        self.keys: Sequence[bytes] = ()
        """Of the results of the texts in the cache; none where it is not used."""
        self.pending: deque[int] = deque()
        """Indices of texts that have no result yet, longest first; of texts that are alike, the first."""
        self.results: list[Result] = [nothing] * len(texts)
        self._alike: dict[int, list[int]] = {}
        """By the first of texts that are alike, all others."""
        self.computed = 0
        """Tokens."""
        self.cached = 0
        """Tokens of texts whose results were there."""
        self.due = (0, False)
        """After which pass it came or was served last, and whether it was served: the smallest is first."""
        self.tokens = sum(map(len, texts))

    def begin(self, cache: ResultCache[Result]) -> None:
        """Take what is in the cache, and the rest to be computed; what is alike only once."""
        request, first = self.request, dict[bytes, int]()
        keys = [name_text(request.caller.tenant, text) for text in self.texts]
        alike: dict[int, list[int]] = defaultdict(list)
        missing: list[int] = []
        for index, key in enumerate(keys):
            if key in first:
                alike[first[key]].append(index)
                continue
            first[key] = index
            if request.cache and (found := cache.find(key)) is not None:
                self.results[index] = found
                self.cached += len(self.texts[index])
            else:
                missing.append(index)
        self._alike = alike
        for index, others in alike.items():
            for other in others:
                self.results[other] = self.results[index]
        self.keys = keys if request.cache else ()
        self.pending = deque(sorted(missing, key=lambda index: -len(self.texts[index])))

    @property
    def lengths(self) -> list[int]:
        """Of what is pending, as far as a pass may reach."""
        return [len(self.texts[index]) for index in islice(self.pending, MOST_ROWS)]

    def take(self, count: int) -> list[int]:
        return [self.pending.popleft() for _ in range(count)]

    def store(self, index: int, result: Result) -> None:
        for each in (index, *self._alike.get(index, ())):
            self.results[each] = result
        self.computed += len(self.texts[index])

    def events(self, now: float) -> list[Event]:
        """Of a request that is complete."""
        claimed = self.claimed or now
        timings = Timings(queued=claimed - self.submitted, prefill=now - claimed)
        usage = Usage(prompt_tokens=self.tokens, cached_tokens=self.cached)
        return [self.tell(), Finished(0, FinishReason.STOP, usage, timings)]

    @abstractmethod
    def tell(self) -> Event:
        """What it came to."""

    def row(self, now: float) -> RequestRow:
        spent = now - self.claimed if self.claimed is not None else 0.0
        done = self.computed + self.cached
        return replace(
            self._row(now, RequestState.QUEUED if self.claimed is None else RequestState.PREFILL),
            prompt_tokens=self.tokens,
            cached_tokens=self.cached,
            prefilled=done,
            eta=spent * (self.tokens - done) / self.computed if self.computed else None,
        )


class EmbedJob(EncodingJob[Sequence[int], bytes]):
    """A request for vectors."""

    request: Embedding

    def __init__(self, request: Embedding, texts: Sequence[Sequence[int]]) -> None:
        super().__init__(request, texts, b"")

    def tell(self) -> Event:
        dimensions = self.request.dimensions
        return Embedded(0, tuple(shorten_vector(vector, dimensions) for vector in self.results))


class RankJob(EncodingJob[TokenPair, float]):
    """A request for scores."""

    request: Reranking

    def __init__(self, request: Reranking, texts: Sequence[TokenPair], *, bounded: bool) -> None:
        super().__init__(request, texts, 0.0)
        self._bounded = bounded

    def tell(self) -> Event:
        return Scored(0, tuple(self.results), self._bounded)


class EncodingLoop(ModelLoop[EncodingJob[Text, Result]], Generic[Text, Result]):
    """Nothing is decoded, so `decoded` stays at zero."""

    def __init__(
        self,
        name: str,
        model: Embedder | Reranker,
        compute: Callable[[Sequence[Text]], Sequence[Result]],
        queue: AdmissionQueue[EncodingJob[Text, Result]],
        *,
        broken: Callable[[BenchtopError], None],
        settings: EncodingSettings = EncodingSettings(),
    ) -> None:
        """`compute` is what the model does: `Embedder.embed`, `Reranker.score`."""
        super().__init__(name, queue, broken=broken)
        self._model = model
        self._work = compute
        self._window = settings.window / 1000
        self._cache: ResultCache[Result] = ResultCache(settings.cache_size << 20)
        self._arrived = threading.Event()
        self._lock = threading.Lock()
        self._running: list[EncodingJob[Text, Result]] = []
        self._passes = 0
        self._passing: tuple[EncodingJob[Text, Result], ...] = ()
        """Those in the pass under way."""
        self._expected = 0
        """Requests that were served together last."""
        self._passed = 0.0
        """When."""
        self._outbox = Outbox()
        """What is answered together is told together: each time the front end is woken, it takes the processor."""

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            self._model.interrupt(True)
        self._wake()

    @property
    def active(self) -> int:
        return len(self._running)

    def _served(self) -> Iterable[EncodingJob[Text, Result]]:
        return tuple(self._running)

    def _wake(self) -> None:
        self._arrived.set()

    def _interrupt(self, job: EncodingJob[Text, Result]) -> None:
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
        self._outbox.hand_over()
        self._model.shutdown()

    def _turn(self) -> None:
        self._admit()
        if self._running:
            self._gather()
        for job in tuple(self._running):
            if job.cancelled:
                self._end(job, [Failed(Cancelled())])
        self._outbox.hand_over()
        if self._running:
            self._pass()
            self._outbox.hand_over()
            return
        self._arrived.wait()
        self._arrived.clear()

    def _admit(self) -> None:
        slots = max(1, self._model.spec.slots)
        while len(self._running) < slots and (job := self._queue.peek()) is not None:
            if self._queue.claim(job):
                job.claimed = time.monotonic()
                job.due = (self._passes, False)
                job.begin(self._cache)
                self._running.append(job)
                if not job.pending and not job.cancelled:
                    self._end(job, job.events(time.monotonic()))
        self._outbox.hand_over()

    def _gather(self) -> None:
        """Wait for those that were served together to come again; not for long, and not where a pass is full."""
        end = self._passed + self._window
        slots, batch = max(1, self._model.spec.slots), self._model.spec.batch
        while len(self._running) < min(self._expected, slots) and not self._stopping.is_set():
            left = end - time.monotonic()
            if left <= 0 or sum(sum(job.lengths) for job in self._running) >= batch:
                return
            self._arrived.wait(left)
            self._arrived.clear()
            self._admit()

    def _pass(self) -> None:
        jobs = sorted(self._running, key=lambda job: job.due)
        model = self._model
        counts = count_fitting([job.lengths for job in jobs], model.spec.batch, padded=model.padded)
        taken = [(job, index) for job, count in zip(jobs, counts, strict=True) for index in job.take(count)]
        included = tuple(job for job, count in zip(jobs, counts, strict=True) if count)
        try:
            results = self._compute(included, [job.texts[index] for job, index in taken])
        except Interrupted:
            # The requests of the pass are cancelled, or the loop is stopping.
            return
        except BenchtopError as error:
            self._fail(included, error)
            return
        except Exception as error:
            # A model may fail in any way, and only the requests of this pass must suffer.
            log.exception("a pass failed", model=self._name)
            self._fail(included, EngineFailed(f"The model {self._name} failed: {error!r}."))
            return
        for (job, index), result in zip(taken, results, strict=True):
            job.store(index, result)
            if job.keys:
                self._cache.keep(job.keys[index], result)
        self.prefilled.add(sum(len(job.texts[index]) for job, index in taken))
        self._passes += 1
        self._expected, self._passed = len(jobs), time.monotonic()
        for job in included:
            job.due = (self._passes, True)
            if not job.pending and not job.cancelled:
                self._end(job, job.events(self._passed))

    def _compute(self, jobs: tuple[EncodingJob[Text, Result], ...], texts: Sequence[Text]) -> Sequence[Result]:
        with self._lock:
            self._passing = jobs
            self._model.interrupt(self._stopping.is_set() or all(job.cancelled for job in jobs))
        try:
            return self._work(texts)
        finally:
            with self._lock:
                self._passing = ()

    def _fail(self, jobs: Sequence[EncodingJob[Text, Result]], error: BenchtopError) -> None:
        log.warning("a pass failed", model=self._name, why=str(error))
        for job in jobs:
            self._end(job, [Failed(Cancelled() if job.cancelled else error)])

    def _end(self, job: EncodingJob[Text, Result], events: Sequence[Event]) -> None:
        self._running.remove(job)
        self._note_end(job)
        self._queue.done(time.monotonic() - (job.claimed or 0.0), cancelled=job.cancelled)
        self._outbox.add(job.stream, events)
