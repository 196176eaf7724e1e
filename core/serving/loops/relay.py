"""The relay: requests to a model that schedules itself, `slots` of them at once, each on a thread of its own.

Models that write down speech are served here, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from core.contract.models import StreamModel, Transcriber
from core.errors import BenchtopError, Cancelled, EngineFailed, RequestError
from core.events import CallArguments, Event, Failed, Finished, Heard, ReasoningDelta, TextDelta, Usage
from core.requests import ResolvedGeneration, Transcription
from core.reuse import CacheStats
from core.serving.content import RequestContent
from core.serving.job import LoopJob
from core.serving.loops.base import ModelLoop
from core.serving.queue import AdmissionQueue
from core.serving.stream import Stream, post_call
from core.snapshots import RequestRow, RequestState
from core.tasks.transcribe import transcribe_audio
from core.telemetry.log import get_logger

ADMIT_SECONDS = 5.0
"""A request counts as admitted at its first event, or this long after it left the queue. Front ends tell their
clients a status at that moment: what the model refuses before it is still told as an error, and a client of a model
that computes a long prompt hears that its request is alive."""
JOIN_SECONDS = 10.0
"""How long generators may take to end after they were told to."""

log = get_logger(__name__)


class Relayed(LoopJob):
    """A request while it is relayed. The thread that serves it writes, any thread may read."""

    request: ResolvedGeneration | Transcription

    def __init__(self, request: ResolvedGeneration | Transcription) -> None:
        super().__init__(request)
        self.stop = threading.Event()
        """Set when it was cancelled, and also when the model is being unloaded."""
        self.open_choices = request.n
        """Zero also after a `Failed`."""
        self.usage: Usage | None = None
        """Told at the end."""
        self._generated = 0
        self._first_token = 0.0
        self._share = 0.0
        """Of the audio, for a transcription."""
        self._pieces: list[str] = []
        """What was written, as it came."""

    def note(self, event: Event) -> Event:
        """Take account of an event; returns it as it is to be told, with the time it has waited here."""
        match event:
            case (
                TextDelta(tokens=tokens, text=text)
                | ReasoningDelta(tokens=tokens, text=text)
                | CallArguments(tokens=tokens, text=text)
            ):
                self._pieces.append(text)
                if tokens and not self._first_token:
                    self._first_token = time.monotonic()
                self._generated += tokens
            case Heard(share=share, segments=segments):
                if segments and not self._first_token:
                    self._first_token = time.monotonic()
                self._generated += sum(len(segment.tokens) for segment in segments)
                self._share = share
                self._pieces += (segment.text for segment in segments)
            case Finished(usage=usage, timings=timings):
                self.open_choices -= 1
                self.usage = usage
                return replace(event, timings=replace(timings, queued=timings.queued + self.waited(time.monotonic())))
            case Failed():
                self.open_choices = 0
        return event

    def row(self, now: float) -> RequestRow:
        """Prompt tokens are zero until the model has told of them, which it does at the end."""
        usage = self.usage or Usage()
        spent = now - self._first_token if self._first_token else 0.0
        return replace(
            self._row(now, self._state()),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            prefilled=usage.prompt_tokens,
            completion_tokens=self._generated,
            rate=max(0, self._generated - self.request.n) / spent if spent > 0 else 0.0,
            eta=self._eta(now),
        )

    def content(self) -> RequestContent:
        return RequestContent(self.request, pieces=self._pieces)

    def _eta(self, now: float) -> float | None:
        """Until the end of the audio, at the pace so far."""
        if self.claimed is None or not self._share:
            return None
        return (now - self.claimed) * (1 - self._share) / self._share

    def _state(self) -> RequestState:
        if self.claimed is None:
            return RequestState.QUEUED
        return RequestState.DECODE if self._first_token else RequestState.PREFILL


class RelayLoop(ModelLoop[Relayed]):
    """The model does not tell when it computes prompts, so `prefilled` stays at zero."""

    def __init__(
        self,
        name: str,
        model: StreamModel | Transcriber,
        queue: AdmissionQueue[Relayed],
        *,
        broken: Callable[[BenchtopError], None],
    ) -> None:
        super().__init__(name, queue, broken=broken)
        self._model = model
        self._arrived = threading.Semaphore(0)
        """Released once for each request; may be higher than what waits, when some were withdrawn."""
        self._lock = threading.Lock()
        self._running: list[Relayed] = []
        self._cache = CacheStats()
        self._workers: list[threading.Thread] = []

    def stop(self) -> None:
        super().stop()
        for job in tuple(self._running):
            job.stop.set()

    @property
    def active(self) -> int:
        return len(self._running)

    def cache_stats(self) -> CacheStats:
        """What finished requests told of the model's own prefix cache."""
        return self._cache

    @property
    def _slots(self) -> int:
        return max(1, self._model.spec.slots)

    def _served(self) -> Iterable[Relayed]:
        return tuple(self._running)

    def _wake(self) -> None:
        # To stop takes all workers, and a request takes one of them; the others find nothing to do.
        self._arrived.release(self._slots if self._stopping.is_set() else 1)

    def _interrupt(self, job: Relayed) -> None:
        job.stop.set()

    def _serve(self) -> None:
        for number in range(self._slots):
            worker = threading.Thread(target=self._work, name=f"relay {self._name} {number}", daemon=True)
            worker.start()
            self._workers.append(worker)
        self._stopping.wait()

    def _wind_up(self, error: BenchtopError) -> None:
        deadline = time.monotonic() + JOIN_SECONDS
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        self._model.shutdown()
        for job in tuple(self._running):
            # Its generator does not end, but its client must not wait for that.
            log.warning("a request does not end", model=self._name, request_id=job.request_id)
            self._fail(job, error, _Outbox(job.stream))

    # On the workers' threads.

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._arrived.acquire()
            job = self._take()
            if job is not None:
                self._relay(job)

    def _take(self) -> Relayed | None:
        """The head of the queue. None when there is none, as after a withdrawal."""
        while not self._stopping.is_set() and (job := self._queue.peek()) is not None:
            if self._queue.claim(job):
                return job
        return None

    def _relay(self, job: Relayed) -> None:
        job.claimed = time.monotonic()
        with self._lock:
            self._running.append(job)
        if self._stopping.is_set():
            job.stop.set()
        outbox = _Outbox(job.stream)
        outbox.admit_later()
        try:
            for event in self._events(job):
                self._tell(job, event, outbox)
            if job.open_choices:
                raise EngineFailed(f"The model {self._name} ended its answer without saying why.")
        except BenchtopError as error:
            self._fail(job, error, outbox)
        except BaseException as error:
            # The edge of the thread: a model may fail in any way, and only this request must suffer. What libraries in
            # Rust raise where they panic is no Exception.
            log.exception("relayed request failed", model=self._name, request_id=job.request_id)
            self._fail(job, EngineFailed(f"The model {self._name} failed: {error!r}."), outbox)

    def _events(self, job: Relayed) -> Iterator[Event]:
        """The host lets nothing through that the model cannot do."""
        match job.request, self._model:
            case Transcription() as request, Transcriber() as model:
                return transcribe_audio(model, request, job.stop)
            case ResolvedGeneration() as request, StreamModel() as model:
                return model.generate(request, job.stop)
            case _:
                raise EngineFailed(f"The model {self._name} was asked for what it cannot do.")

    def _tell(self, job: Relayed, event: Event, outbox: _Outbox) -> None:
        """Hand an event over, the last one after its slot is free. What comes behind the last one is dropped."""
        if not job.open_choices:
            return
        if isinstance(event, Failed):
            self._fail(job, event.error, outbox)
            return
        told = job.note(event)
        if isinstance(event, TextDelta | ReasoningDelta | CallArguments) and event.tokens:
            self.decoded.add(event.tokens)
        if not job.open_choices:
            self._retire(job, cancelled=False)
        outbox.put(told)

    def _fail(self, job: Relayed, error: BenchtopError, outbox: _Outbox) -> None:
        if not job.open_choices:
            return
        failed = Failed(self._reason(job, error))
        job.note(failed)
        self._retire(job, cancelled=job.cancelled)
        outbox.put(failed)

    def _reason(self, job: Relayed, error: BenchtopError) -> BenchtopError:
        if job.cancelled:
            return Cancelled()
        if self._stopping.is_set():
            return self._unloading()
        if not isinstance(error, RequestError):
            log.warning("relayed request failed", model=self._name, request_id=job.request_id, why=str(error))
        return error

    def _retire(self, job: Relayed, *, cancelled: bool) -> None:
        with self._lock:
            if job not in self._running:
                # Both its worker and the end of the relay may have given it up.
                return
            self._running.remove(job)
            if job.usage is not None:
                self._cache = _with(self._cache, job.usage)
        self._queue.done(time.monotonic() - (job.claimed or 0.0), cancelled=cancelled)


def _with(cache: CacheStats, usage: Usage) -> CacheStats:
    return replace(
        cache,
        lookups=cache.lookups + 1,
        hits=cache.hits + (usage.cached_tokens > 0),
        prompt_tokens=cache.prompt_tokens + usage.prompt_tokens,
        cached_tokens=cache.cached_tokens + usage.cached_tokens,
    )


class _Outbox:
    """Events on their way to a stream: all that gathered since the last hand-over goes in one call.

    A fast model thus costs its event loop one call for each turn of the loop, not one for each token.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._pending: list[Event] = []

    def put(self, event: Event) -> None:
        with self._lock:
            self._pending.append(event)
            if len(self._pending) > 1:
                return
        self._post(self._hand_over)

    def admit_later(self) -> None:
        loop = self._stream.loop
        self._post(lambda: loop.call_later(ADMIT_SECONDS, self._stream.admit))

    def _hand_over(self) -> None:
        with self._lock:
            events, self._pending = self._pending, []
        self._stream.deliver(events)

    def _post(self, call: Callable[[], object]) -> None:
        post_call(self._stream.loop, call)
