"""A model being served: its loading, its loop's thread, its queue, and the way requests take to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, assert_never
from weakref import WeakMethod

from msgspec.structs import replace

from core.cache.model_prefixes import ModelPrefixes
from core.cache.store import PrefixStore
from core.chat.answer import AnswerReader
from core.contract.models import Embedder, ModelSpec, Reranker, StreamModel, TokenModel, Transcriber
from core.decoding.masks.trials import FormTrials
from core.errors import BenchtopError, LoadFailed, ModelNotReady
from core.lanes import WorkLanes
from core.requests import ReasoningWish, Scalar
from core.serving.ability import Request
from core.serving.content import RequestContent
from core.serving.failures import explain_load_failure
from core.serving.loaded import LoadedModel, Loader
from core.serving.loops.base import ModelLoop
from core.serving.loops.encoding import EncodingLoop
from core.serving.loops.relay import RelayLoop
from core.serving.loops.scheduler import LoopModel, ServingLoop
from core.serving.prompts import PromptReader
from core.serving.queue import AdmissionQueue
from core.serving.ready import ReadyJob, ReadyModel, RequestDefaults, Traits
from core.serving.sequence import RequestJob
from core.serving.stream import Stream, post_call
from core.settings.encoding import EncodingSettings
from core.settings.profile import SamplingDefaults
from core.settings.prompts import PromptSettings
from core.settings.schema import AnswerSettings
from core.snapshots import ModelSnapshot, ModelState, RequestRow
from core.telemetry.log import get_logger
from core.telemetry.model_log import model_in_log, tell_said

JOIN_SECONDS = 30.0
log = get_logger(__name__)


class Host:
    """One model under the name it is served by. Made on an event loop; `start` begins to load at once."""

    def __init__(
        self,
        name: str,
        loader: Loader,
        *,
        max_queue: int,
        queue_timeout: float,
        slots: int | None,
        sampling: SamplingDefaults = SamplingDefaults(),
        answers: AnswerSettings = AnswerSettings(),
        prompts: PromptSettings = PromptSettings(),
        reasoning: ReasoningWish = ReasoningWish(),
        variables: Mapping[str, Scalar] = MappingProxyType({}),
        lanes: WorkLanes | None = None,
        trials: FormTrials | None = None,
        store: PrefixStore | None = None,
        reuse: bool = True,
        prefill_share: float = 0.9,
        encoding: EncodingSettings = EncodingSettings(),
    ) -> None:
        """`sampling` and `answers`: how requests are sampled that do not say it, before what the model's makers
        recommend, and what their answers are; `prompts`: what is done to their prompts; `reasoning`: how models think
        for requests that do not say it; `variables`: those of the chat template that no request sets; `lanes`: where
        prompts are read, `trials`: where constraints are tried, its own where it is given none; `store`: where prefixes
        are kept that the model's KV cache does not hold; `reuse`: whether any are reused; `prefill_share`: as
        `PrefillPace` has it; `encoding`: how passes over texts are put together."""
        self._prefill_share = prefill_share
        self._encoding = encoding
        self._defaults = RequestDefaults(sampling, answers, reasoning, reuse, prompts, variables)
        self._store = store
        self.name = name
        self._lanes = lanes or WorkLanes()
        self._trials = trials or FormTrials()
        self._loader = loader
        self._timeout = queue_timeout if max_queue else None
        # Requests queue up while the model loads, and only the model decides which kind of job they become.
        self._queue: AdmissionQueue[Any] = AdmissionQueue(max_queue, slots or 1)
        self._stop = threading.Event()
        self._state = ModelState.LOADING
        self._detail = "starting"
        self._fault = ""
        """Why it is being loaded again, while it is."""
        self._error: BenchtopError | None = None
        self._current: ReadyModel | None = None
        """The model that is there; closed, and no other yet, while it is loaded again."""
        self._serving: ModelLoop[Any] | None = None
        """None until the model is loaded."""
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._event_loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def ready(self) -> None:
        """Returns when the model is loaded, and not while it is loaded again. Raises what kept it from loading."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    @property
    def state(self) -> ModelState:
        return self._state

    @property
    def _model(self) -> ReadyModel:
        """Raises ModelNotReady while there is none."""
        if self._current is None:
            raise ModelNotReady(self.name, f"The model {self.name} is still being loaded; ask again in a moment.")
        return self._current

    @property
    def spec(self) -> ModelSpec:
        """Raises ModelNotReady while there is no model."""
        return self._model.spec

    @property
    def traits(self) -> Traits:
        """Raises ModelNotReady while there is no model."""
        return self._model.traits

    @property
    def vocabulary(self) -> int:
        """Number of token ids. Raises ModelNotReady while there is no model, RequestError where it is not known."""
        return self._model.vocabulary

    @property
    def context(self) -> int | None:
        """Tokens that one request may hold; None where that is not known."""
        return self._current.spec.context or None if self._current else None

    @property
    def engine(self) -> str | None:
        return self._current.engine if self._current else None

    def arrival(self) -> AbstractContextManager[None]:
        """Holds a seat in the queue for a request on its way to `submit`. Raises QueueFull when there is none."""
        return self._queue.arrival()

    async def submit(self, request: Request, *, arrived: bool = False) -> Stream:
        """Tokenise, check and queue a request; waits while the model loads.

        Raises QueueFull at once when there is no room, unless it has `arrived` already, which means that its caller
        is within `arrival`; RequestError for what the model cannot take.
        """
        with nullcontext() if arrived else self._queue.arrival():
            made = await self._read(request)
            job, plan, loop = made.job, made.plan, self._serving
            assert loop is not None
            reader = AnswerReader(plan, request.n, job.remarks.append, request.request_id) if plan is not None else None
            job.stream = Stream(
                request.request_id,
                made.prompt_tokens,
                request.n,
                timeout=self._timeout,
                withdraw=lambda: loop.withdraw(job),
                cancel=lambda: loop.cancel(job),
                row=lambda: job.row(time.monotonic()),
                content=lambda: replace(job.content(), decode=WeakMethod(self.decode)),
                reader=reader,
            )
            loop.submit(job)
            return job.stream

    async def _read(self, request: Request) -> ReadyJob:
        """As `ReadyModel.make_job`, once there is a model. A prompt that was being read when the engine failed is read
        again."""
        while True:
            await self.ready()
            if self._state.is_down or self._stop.is_set():
                why = self._detail or "it is being unloaded"
                raise ModelNotReady(self.name, f"The model {self.name} is not running: {why}.")
            model = self._model
            try:
                return await model.make_job(request)
            except ModelNotReady:
                if self._current is model and self._state is ModelState.READY:
                    raise
                # That the model is not ready may be on its way to this event loop still.
                await asyncio.sleep(0)

    async def reader(self) -> PromptReader:
        """What reads and counts the model's prompts. Raises RequestError where its engine does that by itself."""
        await self.ready()
        return self._model.require_reader()

    def knows(self, request_id: str) -> bool:
        """Whether such a request is queued or running."""
        return self._serving is not None and self._serving.find(request_id) is not None

    def row(self, request_id: str) -> RequestRow | None:
        """Of a request that waits or runs, or that ended lately."""
        return self._serving.row(request_id) if self._serving is not None else None

    def content(self, request_id: str) -> RequestContent | None:
        """What a request says that waits or runs, and what came of it."""
        job = self._serving.find(request_id) if self._serving is not None else None
        return job.stream.content() if job is not None else None

    async def decode(self, tokens: Sequence[int]) -> bytes:
        """Their letters, control tokens by the way they are written. Raises ModelNotReady while there is no model, and
        as `PromptReader.decode`."""
        if self._stop.is_set():
            raise ModelNotReady(self.name, f"The model {self.name} is being unloaded.")
        return b"".join(await self._model.require_reader().decode(tokens))

    def cancel(self, request_id: str) -> bool:
        """False when no such request is queued or running."""
        job = self._serving.find(request_id) if self._serving else None
        if self._serving is None or job is None:
            return False
        self._serving.cancel(job)
        return True

    def fail_all(self, error: BenchtopError) -> None:
        """Tell all requests of an error: the process is about to end. From any thread."""
        if self._serving is not None:
            self._serving.fail_all(error)

    def end_thinking(self, request_id: str) -> bool:
        """Have a request's thoughts end, those under way and those to come. False where no such request is queued or
        running, or where none of its thoughts can be told apart here."""
        job = self._serving.find(request_id) if self._serving else None
        if not isinstance(job, RequestJob) or job.ending is None:
            return False
        job.hurried = True
        return True

    @property
    def failure(self) -> BenchtopError | None:
        """What kept it from loading."""
        return self._error

    @property
    def never_loaded(self) -> bool:
        """Whether loading it failed."""
        return self._state.is_down and self._current is None

    def begin_stop(self) -> None:
        """Fail what is left, free the model, end the thread; see `ended`."""
        self._stop.set()
        self._close_current()
        if self._serving is not None:
            self._serving.stop()

    async def ended(self) -> None:
        """Returns when the thread has ended, and so the model is freed."""
        await self._over.wait()
        self._thread.join()

    async def stop(self) -> None:
        """`begin_stop`, and wait for the end; not longer than JOIN_SECONDS for a step that never ends."""
        self.begin_stop()
        await asyncio.wait({asyncio.ensure_future(self.ended())}, timeout=JOIN_SECONDS)

    def snapshot(self) -> ModelSnapshot:
        base = ModelSnapshot(
            name=self.name,
            engine=self.engine or "",
            state=self._state,
            detail="being unloaded" if self._stop.is_set() and not self._detail else self._detail,
            queue=self._queue.stats(),
        )
        current = self._current
        if current is None or self._serving is None or self._state is ModelState.LOADING:
            return base
        spec = current.spec
        return replace(
            base,
            kind=current.kind,
            architecture=spec.architecture,
            quantization=spec.quantization,
            parameters=spec.parameters,
            context=self.context,
            trained_context=spec.trained_context,
            vocabulary=current.reader.vocabulary if current.reader is not None else 0,
            slots=spec.slots,
            slots_used=self._serving.active,
            threads=spec.threads,
            weight_bytes=spec.weight_bytes,
            kv_cells=spec.cells,
            kv_cells_used=self._serving.cells_used,
            kv_bytes_per_token=spec.kv_bytes_per_token,
            kv_type=spec.kv_type.value if spec.kv_type is not None else "",
            cache=self._serving.cache_stats(),
            draft=self._serving.draft_stats(),
            requests=tuple(self._serving.rows()),
            decode_rate=self._serving.decoded.rate(),
            prefill_rate=self._serving.prefilled.rate(),
            notes=current.notes,
        )

    # On the model's thread.

    def _run(self) -> None:
        model_in_log.set(self.name)
        try:
            self._live()
        finally:
            self._close_current()
            post_call(self._event_loop, self._over.set)

    def _live(self) -> None:
        began = time.monotonic()
        # Trying and measuring engines may take minutes the first time.
        log.info("model is being loaded", model=self.name)
        try:
            loaded = self._take(self._loader(self._stop, self._note_progress))
            loop = self._serving = self._served(loaded)
        except BenchtopError as error:
            self._fail(error)
            return
        except BaseException as error:
            # The edge of the thread: whatever failed is logged and told to those that wait. What libraries in Rust
            # raise where they panic is no Exception.
            log.exception("loading failed", model=self.name)
            self._fail(explain_load_failure(self.name, error, "Loading"))
            return
        if self._stop.is_set():
            # `stop` came while the model loaded, and found no loop to tell.
            loop.stop()
        self._state, self._detail = ModelState.READY, ""
        spec = loaded.model.spec
        log.info(
            "model loaded",
            model=self.name,
            engine=self.engine,
            slots=spec.slots,
            context=spec.context,
            seconds=round(time.monotonic() - began, 1),
        )
        post_call(self._event_loop, self._ready.set)
        loop.run()

    def _served(self, loaded: LoadedModel) -> ModelLoop[Any]:
        """Its loop; where there can be none, the model is freed."""
        try:
            return self._loop_for(loaded)
        except Exception:
            self._close_current()
            self._current = None
            loaded.shutdown()
            raise

    def _loop_for(self, loaded: LoadedModel) -> ModelLoop[Any]:
        model = loaded.model
        self._queue.set_slots(max(1, model.spec.slots))
        match model:
            case Embedder():
                return self._encoding_loop(model, model.embed)
            case Reranker():
                return self._encoding_loop(model, model.score)
            case StreamModel() | Transcriber():
                return RelayLoop(self.name, model, self._queue, broken=self._note_broken)
            case TokenModel():
                loop = ServingLoop(
                    self.name,
                    self._reload,
                    self._queue,
                    prefill_share=self._prefill_share,
                    restarting=self._note_restart,
                    broken=self._note_broken,
                )
                loop.adopt(self._to_serve(loaded, model))
                return loop
            case _:
                assert_never(model)

    def _encoding_loop(
        self, model: Embedder | Reranker, compute: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> ModelLoop[Any]:
        return EncodingLoop(self.name, model, compute, self._queue, broken=self._note_broken, settings=self._encoding)

    def _to_serve(self, loaded: LoadedModel, model: TokenModel) -> LoopModel:
        """Reads what is stored of the model's prefixes."""
        prefixes = None
        if self._store is not None and loaded.identity is not None:
            prefixes = ModelPrefixes(self._store, loaded.identity, self.name)
        return LoopModel(model, loaded.proposer, prefixes)

    def _reload(self) -> LoopModel:
        try:
            loaded = self._take(self._loader(self._stop, self._note_progress))
        except BenchtopError:
            raise
        except BaseException as error:
            # The edge of the engine, as when it was loaded first.
            log.exception("loading again failed", model=self.name)
            raise explain_load_failure(self.name, error, "Loading again") from error
        if not isinstance(loaded.model, TokenModel):
            loaded.shutdown()
            raise LoadFailed(self.name, f"The model {self.name} was loaded again by another kind of engine.")
        return self._to_serve(loaded, loaded.model)

    def _take(self, loaded: LoadedModel) -> LoadedModel:
        """From now on this is the model; also after a restart, since the old one's vocabulary is gone with it."""
        try:
            self._current = ReadyModel(self.name, loaded, self._defaults, self._lanes, self._trials)
        except Exception:
            # Free the model here: its loader has given it away already.
            loaded.shutdown()
            raise
        return loaded

    def _fail(self, error: BenchtopError) -> None:
        self._error = error
        self._state, self._detail = ModelState.FAILED, str(error)
        post_call(self._event_loop, self._ready.set)

    def _note_progress(self, words: str) -> None:
        if not words.endswith("%"):
            tell_said(words)
        self._detail = f"{self._fault} ({words})" if self._fault else words

    def _note_restart(self, why: str | None) -> None:
        self._fault = why or ""
        if why is not None:
            # Requests that come now wait: the vocabulary goes with the model.
            post_call(self._event_loop, self._ready.clear)
            self._close_current()
        self._state = ModelState.READY if why is None else ModelState.RESTARTING
        self._detail = why or ""
        if why is None:
            post_call(self._event_loop, self._ready.set)

    def _note_broken(self, error: BenchtopError) -> None:
        self._close_current()
        # Where it was on its way back, it is loading it that failed.
        self._state = ModelState.FAILED if self._state is ModelState.RESTARTING else ModelState.BROKEN
        self._detail = str(error).rstrip(".")
        post_call(self._event_loop, self._ready.set)

    def _close_current(self) -> None:
        if self._current is not None:
            self._current.close()
