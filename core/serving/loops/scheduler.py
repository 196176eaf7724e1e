"""The serving loop: one thread that owns one model and batches all its requests, continuously."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from core.cache.model_prefixes import ModelPrefixes
from core.contract.models import TokenModel, Trims
from core.contract.step import Step, Work
from core.decoding.speculate import Proposer
from core.errors import BenchtopError, Cancelled, EngineFailed, Interrupted, RequestError
from core.events import Event, Failed
from core.reuse import CacheStats
from core.serving.failures import StepFailed, explain_step_failure
from core.serving.kv_memory import KvMemory
from core.serving.loops.base import ModelLoop
from core.serving.loops.outbox import Outbox
from core.serving.loops.plan import PrefillPace, plan_step, plan_whole_passes
from core.serving.masking import mask_steps
from core.serving.queue import AdmissionQueue, choose_yielding
from core.serving.scoring import count_rows_each
from core.serving.sequence import RequestJob, ServedChoice
from core.serving.speculation import Guesser
from core.snapshots import DraftStats, EtaBasis, RequestRow, RequestState
from core.telemetry.log import get_logger

MOST_RESTARTS = 3
"""Restarts in a row without a single good step before the model is given up."""

REST_SECONDS = 0.5
"""Without anything to do, before what is in the KV cache alone is stored."""
STORING_SHARE = 0.02
"""Of the loop's time that storing may take while there is something to do."""
STORING_BYTES = 32 * 2**20
"""Larger states are stored at rest only: copying them would be felt by running streams."""
STORING_SECONDS = 20.0
"""That storing may take when the model is unloaded."""

Loader = Callable[[], "LoopModel"]
log = get_logger(__name__)


class LoopModel(Struct, frozen=True):
    """A model for a loop to serve."""

    model: TokenModel
    proposer: Proposer | None = None
    """Guesses for the model, and is freed with it."""
    prefixes: ModelPrefixes | None = None
    """Keep what the KV cache does not; None where the engine's states cannot be kept."""


class ServingLoop(ModelLoop[RequestJob]):
    """`adopt` gives it its model before `run`."""

    def __init__(
        self,
        name: str,
        load: Loader,
        queue: AdmissionQueue[RequestJob],
        *,
        prefill_share: float,
        restarting: Callable[[str | None], None],
        broken: Callable[[BenchtopError], None],
    ) -> None:
        """`load` loads the model again after a failure. `prefill_share`: as `PrefillPace` has it. `restarting` is told
        why before the model is loaded again, and None after it; `broken` is told when the loop gives up."""
        super().__init__(name, queue, broken=broken)
        self._load = load
        self._restarting = restarting
        self._arrived = threading.Event()
        self._running: list[ServedChoice] = []
        self._waiting: deque[ServedChoice] = deque()
        """Choices of claimed requests that have no sequence yet, or no longer."""
        self._outbox = Outbox()
        self._step_lock = threading.Lock()
        self._stepping: Sequence[RequestJob] = ()
        self._blocked: RequestJob | None = None
        """The request that found no room; not tried again until something is retired or prefilled."""
        self._prefix_read = threading.Event()
        """A prefix that a request waits for was read from disk."""
        self._next_storing = 0.0
        self._orderly = False
        """Whether the loop was left with all that the KV cache holds known."""
        self._failures = 0
        self._at_hand: RequestJob | None = None
        """The request that something is done for outside of a step, and that fails with it."""
        self._prefill = PrefillPace(prefill_share)
        self._pace = 1.0
        """Seconds that a step of late takes, smoothed; long until shown otherwise."""
        self._past_cache = CacheStats()
        """Of the memory of the model before, where this one was loaded again."""
        self._model: TokenModel
        self._memory: KvMemory
        self._guesser: Guesser

    # From any thread.

    def stop(self) -> None:
        self._stopping.set()
        with self._step_lock:
            if self._stepping:
                self._model.interrupt(True)
        self._wake()

    @property
    def active(self) -> int:
        return len(self._running)

    def cache_stats(self) -> CacheStats:
        return self._memory.stats()

    def draft_stats(self) -> DraftStats | None:
        """None where nothing is guessed."""
        return self._guesser.stats()

    @property
    def cells_used(self) -> int:
        return self._memory.used

    def _row(self, job: RequestJob, now: float, place: int = 0) -> RequestRow:
        row = super()._row(job, now, place)
        if row.state is not RequestState.PREFILL:
            return row
        eta = self._eta(job)
        return replace(row, eta=eta, eta_basis=None if eta is None else EtaBasis.PACE)

    def _eta(self, job: RequestJob) -> float | None:
        """Seconds until its prompt is computed, and those whose turn comes before it."""
        running, batch = tuple(self._running), self._model.spec.batch
        streams = sum(choice.pending == 1 for choice in running)
        left = [
            self._prefill.estimate_seconds(choice.computed, choice.pending, batch, streams)
            for choice in running
            if choice.pending > 1 and choice.job.turn <= job.turn
        ]
        return None if None in left else sum(seconds for seconds in left if seconds is not None)

    def _served(self) -> Iterable[RequestJob]:
        return {id(choice.job): choice.job for choice in (*tuple(self._running), *tuple(self._waiting))}.values()

    def _wake(self) -> None:
        self._arrived.set()

    def _interrupt(self, job: RequestJob) -> None:
        # A state that cannot be cut is lost with an interrupted step; the step's end is worth waiting for then.
        with self._step_lock:
            if isinstance(self._model, Trims) and self._stepping and all(each.cancelled for each in self._stepping):
                self._model.interrupt(True)
        self._wake()

    # On the loop's own thread.

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._arrived.clear()
            try:
                if not self._turn():
                    self._rest()
            except StepFailed as failed:
                self._recover(failed.jobs, failed.error)
            except BaseException as error:
                # The edge of a turn: what failed outside of a step was done for one request, or for none. What
                # libraries in Rust raise where they panic is no Exception.
                log.exception("a turn of the serving loop failed", model=self._name)
                self._recover([self._at_hand] if self._at_hand is not None else [], error)
            self._at_hand = None
        self._orderly = True

    def _wind_up(self, error: BenchtopError) -> None:
        for choice in (*self._running, *self._waiting):
            self._close_job(choice.job, Failed(error))
        self._outbox.hand_over()
        try:
            if self._orderly:
                for choice in (*self._running, *self._waiting):
                    self._retire(choice, keep=True)
                self._memory.store_all(STORING_SECONDS)
        except Exception:
            # The edge of the loop: all requests have been told, and the model must be freed.
            log.exception("not all prefixes could be stored", model=self._name)
        self._running.clear()
        self._waiting.clear()
        self._free()

    def adopt(self, served: LoopModel) -> None:
        """Serve this model from now on, with an empty KV cache. Before `run` from the thread that loaded it."""
        self._model = served.model
        self._memory = KvMemory(served.model, self._running, self._past_cache, served.prefixes, self._note_prefix)
        self._guesser = Guesser(served.model, served.proposer)

    def _note_prefix(self) -> None:
        """From any thread."""
        self._prefix_read.set()
        self._wake()

    def _rest(self) -> None:
        """Wait for something to do; meanwhile store what is in the KV cache alone."""
        while not self._arrived.wait(REST_SECONDS if self._memory.unsaved else None):
            self._memory.store_one()

    def _store_beside(self) -> None:
        """Store a little of what is in the KV cache alone although there is something to do."""
        began = time.monotonic()
        if began >= self._next_storing and self._memory.unsaved and self._memory.store_one(STORING_BYTES):
            end = time.monotonic()
            self._next_storing = end + (end - began) / STORING_SHARE

    def _free(self) -> None:
        self._guesser.shutdown()
        try:
            self._model.shutdown()
        except Exception:
            # The edge of an engine, which may have failed before; its memory stays taken until the process ends.
            log.exception("a model was not freed", model=self._name)

    def _turn(self) -> bool:
        """One step and all around it. False when there is nothing to do."""
        if self._prefix_read.is_set():
            self._prefix_read.clear()
            self._blocked = None
        self._drop_cancelled()
        self._admit()
        work = self._plan()
        if not self._may_hold(work):
            self._outbox.hand_over()
        if work:
            # After the hand-over: what was drawn must not wait for guesses.
            self._step(self._widened(work))
            self._store_beside()
        return bool(work)

    def _widened(self, work: list[tuple[ServedChoice, Work]]) -> list[tuple[ServedChoice, Work]]:
        """The step with guesses and under its choices' masks. Prompts that are scored are as they are to be, and leave
        no room for guesses."""
        scored = [(choice, item) for choice, item in work if choice.unscored]
        if not scored:
            return self._masked(self._guesser.extend(work))
        return [*self._masked([(choice, item) for choice, item in work if not choice.unscored]), *scored]

    def _masked(self, work: list[tuple[ServedChoice, Work]]) -> list[tuple[ServedChoice, Work]]:
        """The step under its choices' masks; requests whose masks cannot be followed any further fail."""
        masked, failed = mask_steps(work)
        for choice, error in failed:
            self._abandon([choice], error)
        return [(choice, item) for choice, item in masked if choice.job.open_choices] if failed else masked

    def _may_hold(self, work: Sequence[tuple[ServedChoice, Work]]) -> bool:
        """Whether what there is to tell may wait for the step: for a short one only, and a prefill may be long."""
        decoding = bool(work) and all(len(item.tokens) == 1 and not item.draft for _, item in work)
        return decoding and self._outbox.may_wait(self._pace)

    def _drop_cancelled(self) -> None:
        for choice in [choice for choice in (*self._running, *self._waiting) if choice.job.cancelled]:
            self._at_hand = choice.job
            self._retire(choice, keep=True)
            self._close_job(choice.job, Failed(Cancelled()))
        self._at_hand = None

    def _admit(self) -> None:
        """Give slots to waiting requests, in the order of their turns, until one of them finds no slot or no memory."""
        while True:
            waiting = min(self._waiting, key=_turn, default=None)
            head = self._queue.peek()
            resumed = waiting is not None and (head is None or waiting.job.turn <= head.turn)
            job = waiting.job if waiting is not None and resumed else head
            if job is None or job is self._blocked or not (self._has_slot or self._pause_for(job)):
                return
            self._at_hand = job
            placed = self._resume(waiting) if waiting is not None and resumed else self._claim(job)
            self._at_hand = None
            if not placed and not (self._memory.short and (self._preempt_paused(job.turn) or self._pause_for(job))):
                self._blocked = job
                return

    @property
    def _has_slot(self) -> bool:
        return len(self._running) < self._model.spec.slots

    def _pause_for(self, job: RequestJob) -> bool:
        """Have a request that nobody waits for give its slot to `job`. It keeps its cells as long as there is room."""
        turns = [(choice.job.turn, choice.job.priority) for choice in self._running]
        index = choose_yielding(turns, job.turn, job.priority)
        if index is None:
            return False
        choice = self._running.pop(index)
        choice.paused = True
        self._waiting.append(choice)
        return True

    def _preempt_paused(self, turn: float) -> bool:
        """Put the state of a paused choice aside, the one whose turn comes last and behind `turn`; False if none is."""
        choice = max((each for each in self._waiting if each.paused and each.job.turn > turn), key=_turn, default=None)
        if choice is None:
            return False
        self._memory.preempt(choice)
        choice.paused = False
        return True

    def _resume(self, choice: ServedChoice) -> bool:
        """Place a choice of a request that was claimed before, if it is not in its place still."""
        if not choice.paused and not self._memory.place(choice):
            return False
        choice.paused = False
        self._waiting.remove(choice)
        choice.started = choice.started or time.monotonic()
        self._running.append(choice)
        return True

    def _claim(self, job: RequestJob) -> bool:
        """Take the head of the queue. A request that finds no memory still counts as queued, and may time out."""
        first = job.choices[0]
        if not self._memory.place(first):
            return False
        if not self._queue.claim(job):
            self._memory.release(first, keep=False)
            return True
        job.claimed = first.started = time.monotonic()
        self._running.append(first)
        self._waiting.extend(job.choices[1:])
        if first.tells_prefill:
            self._outbox.add(job.stream, [first.prefilled()])
        else:
            self._outbox.admit(job.stream)
        return True

    def _plan(self) -> list[tuple[ServedChoice, Work]]:
        for choice in sorted(self._running, key=_turn):
            while choice in self._running and not self._memory.reserve(choice):
                self._preempt_last()
        spec = self._model.spec
        running = sorted(self._running, key=_turn)
        plan = plan_whole_passes if spec.grain else plan_step
        scoring = sum(choice.unscored > 0 for choice in running)
        rows = count_rows_each(self._model, scoring, len(running)) if scoring else 0
        chunks = plan([self._due(choice, rows) for choice in running], spec.batch, self._limit(running))
        return [(choice, _work(choice, count)) for choice, count in zip(running, chunks, strict=True) if count]

    def _due(self, choice: ServedChoice, rows: int) -> int:
        """Tokens that the choice could compute in the next step; `rows` of them at most where they are scored."""
        chunk = self._memory.chunk(choice)
        return min(chunk, rows, choice.unscored) if choice.unscored else chunk

    def _limit(self, running: Sequence[ServedChoice]) -> int:
        """Tokens of prompts that the next step may compute beside the streams among `running`."""
        streams = sum(choice.pending == 1 for choice in running)
        prompts = [choice for choice in running if choice.pending > 1]
        if not prompts or not streams:
            return self._model.spec.batch
        left = sum(choice.pending for choice in prompts)
        return self._prefill.limit(self._model.spec.batch, left, prompts[0].computed, streams)

    def _preempt_last(self) -> None:
        """The choice whose turn came last makes room; it goes on, with its state, when its turn has come again."""
        if self._preempt_paused(-math.inf):
            return
        choice = max(reversed(self._running), key=_turn)
        self._memory.preempt(choice)
        self._running.remove(choice)
        self._waiting.appendleft(choice)

    def _step(self, work: list[tuple[ServedChoice, Work]]) -> None:
        if not work:
            return
        with self._step_lock:
            self._stepping = [choice.job for choice, _ in work]
        began = time.perf_counter()
        try:
            steps = self._model.step([item for _, item in work])
        except Interrupted:
            self._stopped([choice for choice, _ in work])
            return
        except BaseException as error:
            # The edge of the engine: it may fail in any way, and only this step's requests must suffer.
            log.exception("engine step failed", model=self._name)
            raise StepFailed([choice.job for choice, _ in work], error) from error
        finally:
            with self._step_lock:
                self._stepping = ()
                self._model.interrupt(False)
        seconds = time.perf_counter() - began
        self._observe(work, steps, seconds)
        self._memory.relieve(sum(len(item.tokens) for _, item in work))
        if not any(choice.unscored for choice, _ in work):
            self._guesser.learn(work, steps, seconds)
        for (choice, item), step in zip(work, steps, strict=True):
            # Another choice of its request may have failed just now.
            if choice.job.open_choices:
                self._at_hand = choice.job
                self._deliver(choice, item, step)
        self._at_hand = None
        self._failures = 0

    def _observe(self, work: Sequence[tuple[ServedChoice, Work]], steps: Sequence[Step], seconds: float) -> None:
        chunks = [
            (choice.computed, count)
            for choice, item in work
            if (count := len(item.tokens) + (len(item.draft) if choice.unscored else 0)) > 1 or choice.unscored
        ]
        prefill = sum(count for _, count in chunks)
        depth = sum((computed + count / 2) * count for computed, count in chunks) / (prefill or 1)
        decoded = sum(len(step.tokens) for (choice, _), step in zip(work, steps, strict=True) if not choice.unscored)
        self._prefill.observe(prefill, depth, len(work) - len(chunks), seconds)
        if prefill:
            self._blocked = None
            self.prefilled.add(prefill)
        if decoded:
            self._pace += (seconds + self._guesser.spent - self._pace) * 0.3
            self.decoded.add(decoded)

    def _deliver(self, choice: ServedChoice, item: Work, step: Step) -> None:
        if choice.unscored or not step.tokens:
            self._advance(choice, item, step)
            return
        whole = [choice.prefilled(all_of_it=True)] if choice.tells_prefill else []
        try:
            scores = self._tell_scores(choice)
            events = [*whole, *scores, *choice.accept(step.tokens, step.logprobs, self._model.tokenizer)]
        except RequestError as error:
            self._abandon([choice], error)
            return
        except BaseException as error:
            # The edge of one request: what was drawn for the others must reach them.
            log.exception("an answer failed", model=self._name, request_id=choice.job.request_id)
            self._abandon([choice], explain_step_failure(error))
            return
        # All drawn tokens but the last are in the KV cache; of those that were not taken it is unknown.
        kept = min(choice.taken, len(step.tokens) - 1)
        self._memory.grew(choice, len(item.tokens) + kept)
        if kept < len(step.tokens) - 1:
            self._memory.rewind(choice)
        if events:
            self._outbox.add(choice.job.stream, events)
        if choice.looped:
            self._queue.count_loop()
            log.info("an answer went round in a circle", model=self._name, request_id=choice.job.request_id)
        if choice.ended:
            self._end(choice)

    def _advance(self, choice: ServedChoice, item: Work, step: Step) -> None:
        """A part of a prompt was computed, and nothing was drawn behind it."""
        scored = choice.unscored > 0
        if choice.scores is not None and scored:
            choice.scores.take(choice.computed, step.logprobs)
        self._memory.grew(choice, len(item.tokens) + len(item.draft))
        events: list[Event] = [choice.prefilled()] if choice.tells_prefill else []
        if scored and not choice.unscored:
            events += self._tell_scores(choice)
            if choice.limit:
                self._memory.reopen(choice)
        if not choice.limit and choice.is_computed:
            events += [*self._tell_scores(choice), *choice.end_unsaid()]
            self._end(choice)
        if events:
            self._outbox.add(choice.job.stream, events)

    def _tell_scores(self, choice: ServedChoice) -> list[Event]:
        """Once, where somebody asked for them."""
        scores = choice.scores
        return [] if scores is None or scores.told else [scores.tell(choice.index, self._model.tokenizer)]

    def _end(self, choice: ServedChoice) -> None:
        self._retire(choice, keep=True)
        choice.job.open_choices -= 1
        if choice.job.open_choices == 0:
            self._note_end(choice.job)
            self._queue.done(time.monotonic() - (choice.job.claimed or 0.0), cancelled=False)

    def _retire(self, choice: ServedChoice, *, keep: bool) -> None:
        if choice in self._running:
            self._running.remove(choice)
        elif choice in self._waiting:
            self._waiting.remove(choice)
        self._blocked = None
        self._guesser.forget(choice)
        self._memory.release(choice, keep=keep)

    def _close_job(self, job: RequestJob, event: Failed) -> None:
        """End a claimed job that has not ended by itself; safe to call for each of its choices."""
        if job.open_choices == 0:
            return
        job.open_choices = 0
        self._note_end(job)
        self._outbox.add(job.stream, [event])
        self._queue.done(0.0, cancelled=True)

    def _stopped(self, choices: Sequence[ServedChoice]) -> None:
        """The step was interrupted, which happens only when all its requests were cancelled, or at the end."""
        for choice in choices:
            self._at_hand = choice.job
            keep = self._memory.rewind(choice)
            self._retire(choice, keep=keep)
            self._close_job(choice.job, Failed(Cancelled() if choice.job.cancelled else self._unloading()))

    def _abandon(self, choices: Sequence[ServedChoice], error: BenchtopError) -> None:
        for choice in choices:
            # How much of the step reached the KV cache is unknown, so nothing of it is kept.
            for sibling in choice.job.choices:
                self._retire(sibling, keep=False)
            self._close_job(choice.job, Failed(error))

    def _recover(self, jobs: Sequence[RequestJob], error: BaseException) -> None:
        """Fail these requests, load the model again, and let all others begin anew on it, from what they have drawn.

        Raises EngineFailed where that came too often, and what loading raises.
        """
        failure = error if isinstance(error, BenchtopError) else explain_step_failure(error)
        for job in jobs:
            if self._queue.claim(job):
                job.claimed = time.monotonic()
            if job.claimed is not None:
                self._close_job(job, Failed(failure))
        self._failures += 1
        if self._failures > MOST_RESTARTS:
            raise EngineFailed(f"The model {self._name} failed {self._failures} times in a row: {failure}")
        # First: whoever hears of the failure and asks again is to wait for the model.
        self._restarting(str(failure))
        self._outbox.hand_over()
        # The engine is asked for nothing more, so the sequences go with it.
        for choice in (*self._running, *(choice for choice in self._waiting if choice.paused)):
            choice.sequence, choice.computed, choice.paused = None, 0, False
            choice.claim = choice.promise = 0
        left = [choice for choice in (*self._running, *self._waiting) if choice.job.open_choices]
        self._waiting = deque(left)
        self._running.clear()
        self._blocked = None
        self._free()
        self._past_cache = self._memory.stats()
        self.adopt(self._load())
        self._restarting(None)


def _turn(choice: ServedChoice) -> float:
    return choice.job.turn


def _work(choice: ServedChoice, count: int) -> Work:
    assert choice.sequence is not None
    if choice.scores is not None and choice.unscored:
        return choice.scores.build_work(choice.sequence, choice.computed, count)
    tokens = choice.tokens[choice.computed : choice.computed + count]
    return Work(choice.sequence, tokens, sample=count == choice.pending and choice.limit > 0)
