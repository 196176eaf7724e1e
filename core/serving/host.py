"""A model being served: its loading, its loop's thread, its queue, and the way requests take to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from core.chat.process import SECONDS
from core.chat.prompt import PromptEncoder
from core.chat.template import ChatTemplate, Rendering
from core.contract.models import Embedder, Model, ModelSpec, StreamModel, Tokenizer, TokenModel, Transcriber
from core.decoding.speculate import Proposer
from core.errors import (
    BenchtopError,
    ContextExceeded,
    LoadFailed,
    ModelNotReady,
    Overloaded,
    RequestError,
    TemplateFailed,
)
from core.lanes import WorkLanes
from core.requests import Conversation, Embedding, Generation, RawText, RawTokens, ResolvedGeneration, Transcription
from core.serving.ability import Request, kind_of, require_able
from core.serving.loops.embedder import EmbeddingLoop, EmbedJob
from core.serving.loops.relay import Relayed, RelayLoop
from core.serving.loops.scheduler import ServingLoop
from core.serving.queue import AdmissionQueue
from core.serving.sequence import Job
from core.serving.stream import Stream
from core.settings.profile import SamplingDefaults
from core.snapshots import CacheStats, ModelSnapshot, ModelState, RequestRow
from core.tasks.bounds import SHORT, PromptTooLarge, most_bytes, prompt_bytes, text_bytes
from core.tasks.embed import check_embedding, split_inputs, tokenise_inputs
from core.telemetry.log import get_logger
from core.telemetry.rate import RateMeter

JOIN_SECONDS = 30.0
PATIENCE = 2 * SECONDS
"""Seconds that a conversation may wait for its turn with the model's chat template."""
log = get_logger(__name__)


class Traits(Struct, frozen=True):
    """What decides which wishes of a request can come true."""

    template: str | None
    """The source of its chat template; None where it has none, or where whoever runs it renders prompts."""
    stepwise: bool
    """Whether this workbench computes its prompts and draws its tokens."""
    vocabulary: int | None
    """Number of token ids; None where nobody here can tell."""


class Loaded:
    """A model as its loader hands it over, with what a user should know about how it came to run this way.

    `proposer` guesses what a model that decodes step by step will write; it is freed with the model.
    """

    def __init__(
        self, model: Model, engine: str, notes: tuple[str, ...] = (), proposer: Proposer | None = None
    ) -> None:
        self.model = model
        self.engine = engine
        self.notes = notes
        self.proposer = proposer

    @property
    def promised(self) -> int:
        """Bytes that the model will take once its context is full, with those of one that drafts for it; nothing of a
        script, which has no weights."""
        spec = self.model.spec
        own = spec.weight_bytes + spec.cells * spec.kv_bytes_per_token if spec.weight_bytes else 0
        return own + (self.proposer.promised if self.proposer is not None else 0)

    def shutdown(self) -> None:
        try:
            self.model.shutdown()
        finally:
            if self.proposer is not None:
                self.proposer.shutdown()


Loader = Callable[[threading.Event, Callable[[str], None]], Loaded]
"""Loads on the calling thread; gives up when the event is set; tells its progress in a few words."""


AnyJob = TypeVar("AnyJob")


class Loop(Protocol[AnyJob]):
    """What a host needs of the loop that serves its model. All but `run` may be called from any thread."""

    @property
    def active(self) -> int:
        """Requests, or sequences of requests, that hold a slot."""
        ...

    @property
    def cells_used(self) -> int: ...

    @property
    def decoded(self) -> RateMeter: ...

    @property
    def prefilled(self) -> RateMeter: ...

    def submit(self, job: AnyJob) -> None: ...

    def withdraw(self, job: AnyJob) -> bool:
        """Take a request that waited too long out of the queue; False when it is being served already."""
        ...

    def cancel(self, job: AnyJob) -> None: ...

    def find(self, request_id: str) -> AnyJob | None: ...

    def rows(self) -> Sequence[RequestRow]: ...

    def cache_stats(self) -> CacheStats: ...

    def run(self) -> None:
        """Serve until `stop`, then fail what is left and free the model. On the thread that loaded it."""
        ...

    def stop(self) -> None: ...


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
        lanes: WorkLanes | None = None,
    ) -> None:
        """`sampling`: how requests are sampled that do not say it, before what the model's makers recommend; `lanes`:
        where prompts are read, its own where it is given none."""
        self.name = name
        self._sampling = sampling
        self._lanes = lanes or WorkLanes()
        self._loader = loader
        self._timeout = queue_timeout if max_queue else None
        # Requests queue up while the model loads, and only the model decides which kind of job they become.
        self._queue: AdmissionQueue[Any] = AdmissionQueue(max_queue, slots or 1)
        self._stop = threading.Event()
        self._state = ModelState.LOADING
        self._detail = "starting"
        self._error: BenchtopError | None = None
        self._loaded: Loaded | None = None
        self._encoder: PromptEncoder | None = None
        """None for a model that schedules itself: what takes its requests renders and tokenises them."""
        self._tokenizer: Tokenizer | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"template {name}")
        """Waits for the model's chat template. One that takes long holds up no other model, nor anything else."""
        self._serving: Loop[Any] | None = None
        """None until the model is loaded."""
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._event_loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def ready(self) -> None:
        """Returns when the model is loaded. Raises what kept it from loading."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    @property
    def state(self) -> ModelState:
        return self._state

    @property
    def spec(self) -> ModelSpec:
        """Raises ModelNotReady while there is none."""
        if self._loaded is None:
            raise ModelNotReady(self.name, f"The model {self.name} is still being loaded; ask again in a moment.")
        return self._loaded.model.spec

    @property
    def traits(self) -> Traits:
        """Raises ModelNotReady while there is no model."""
        size = self._tokenizer.size if self._tokenizer is not None else None
        return Traits(self.spec.template, self._encoder is not None, size)

    @property
    def vocabulary(self) -> int:
        """Number of token ids. Raises ModelNotReady while no model is there, RequestError when nobody can tell."""
        _ = self.spec
        if self._loaded is not None and isinstance(self._loaded.model, Embedder):
            raise RequestError(
                f"The model {self.name} makes embeddings and decodes no tokens; measure it with `tui bench`.", "model"
            )
        if self._tokenizer is None:
            raise RequestError(
                f"The model {self.name} cannot be measured: the engine {self.engine} does not tell its vocabulary.",
                "model",
            )
        return self._tokenizer.size

    @property
    def context(self) -> int | None:
        """Tokens that one request may hold; None while nobody knows."""
        return self._loaded.model.spec.context or None if self._loaded else None

    @property
    def engine(self) -> str | None:
        return self._loaded.engine if self._loaded else None

    def arrival(self) -> AbstractContextManager[None]:
        """Holds a place for a request on its way to `submit`. Raises QueueFull when there is none."""
        return self._queue.arrival()

    async def submit(self, request: Request, *, arrived: bool = False) -> Stream:
        """Tokenise, check and queue a request; waits while the model loads.

        Raises QueueFull at once when there is no room, unless it has `arrived` already, which means that its caller
        is within `arrival`; RequestError for what the model cannot take.
        """
        with nullcontext() if arrived else self._queue.arrival():
            await self.ready()
            if self._state is ModelState.FAILED or self._stop.is_set():
                why = self._detail or "it is being unloaded"
                raise ModelNotReady(self.name, f"The model {self.name} is not running: {why}.")
            loop = self._serving
            assert loop is not None
            job, prompt_tokens = await self._job(request)
            job.stream = Stream(
                request.request_id,
                prompt_tokens,
                request.n,
                timeout=self._timeout,
                withdraw=lambda: loop.withdraw(job),
                cancel=lambda: loop.cancel(job),
            )
            loop.submit(job)
            return job.stream

    async def count(self, request: Generation) -> int:
        """Tokens of the request's prompt. Raises RequestError where the engine cannot count."""
        await self.ready()
        if self._encoder is None:
            raise RequestError(
                f"The engine {self.engine} cannot count the tokens of a prompt; the usage of an answer tells them.",
                "model",
            )
        tokens, _ = await self._read(request)
        return len(tokens)

    def knows(self, request_id: str) -> bool:
        """Whether such a request is queued or running."""
        return self._serving is not None and self._serving.find(request_id) is not None

    def cancel(self, request_id: str) -> bool:
        """False when no such request is queued or running."""
        job = self._serving.find(request_id) if self._serving else None
        if self._serving is None or job is None:
            return False
        self._serving.cancel(job)
        return True

    @property
    def failure(self) -> BenchtopError | None:
        """What kept it from loading."""
        return self._error

    @property
    def never_loaded(self) -> bool:
        """Whether loading it failed."""
        return self._state is ModelState.FAILED and self._loaded is None

    def begin_stop(self) -> None:
        """Fail what is left, free the model, end the thread; see `ended`."""
        self._stop.set()
        if self._encoder is not None:
            self._encoder.close()
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
        if self._loaded is None or self._serving is None or self._state is ModelState.LOADING:
            return base
        spec = self._loaded.model.spec
        return replace(
            base,
            kind=kind_of(self._loaded.model),
            architecture=spec.architecture,
            quantization=spec.quantization,
            parameters=spec.parameters,
            context=spec.context,
            trained_context=spec.trained_context,
            vocabulary=self._tokenizer.size if self._tokenizer is not None else 0,
            slots=spec.slots,
            slots_used=self._serving.active,
            threads=spec.threads,
            weight_bytes=spec.weight_bytes,
            kv_cells=spec.cells,
            kv_cells_used=self._serving.cells_used,
            kv_bytes_per_token=spec.kv_bytes_per_token,
            cache=self._serving.cache_stats(),
            draft=self._serving.draft_stats() if isinstance(self._serving, ServingLoop) else None,
            requests=tuple(self._serving.rows()),
            decode_rate=self._serving.decoded.rate(),
            prefill_rate=self._serving.prefilled.rate(),
            notes=(*self._loaded.notes, *spec.notes),
        )

    async def _job(self, request: Request) -> tuple[Job | Relayed | EmbedJob, int]:
        """The request as its loop takes it, with the number of its prompt's tokens; zero where nobody here can tell.

        Raises RequestError for what the model cannot take.
        """
        model = self._able(request)
        if isinstance(request, Embedding):
            assert isinstance(model, Embedder)
            embedding = EmbedJob(request, await self._tokens(model, request))
            return embedding, embedding.tokens
        if isinstance(request, Transcription):
            return Relayed(request), 0
        resolved = self._resolved(request)
        if self._encoder is None:
            return Relayed(resolved), 0
        prompt, notes = await self._read(request)
        return Job(resolved, prompt, self.spec.context, notes), len(prompt)

    def _resolved(self, request: Generation) -> ResolvedGeneration:
        """The request with its sampling in full, without biases on tokens that the model does not have."""
        resolved = request.resolved(self._sampling.over(self.spec.sampling))
        if self._tokenizer is None or not resolved.sampling.logit_bias:
            return resolved
        size = self._tokenizer.size
        known = tuple((token, bias) for token, bias in resolved.sampling.logit_bias if 0 <= token < size)
        return replace(resolved, sampling=replace(resolved.sampling, logit_bias=known))

    async def _written(self, request: Generation) -> Rendering:
        """A conversation as the model's template writes it, and a raw text as it stands; empty for tokens.

        Raises RequestError where the template refuses it, TemplateFailed where it fails.
        """
        match request.prompt:
            case Conversation() as conversation:
                try:
                    return await asyncio.wrap_future(self._writer.submit(self._write, conversation, time.monotonic()))
                except (TemplateFailed, RuntimeError) as error:
                    if self._stop.is_set():
                        raise ModelNotReady(self.name, f"The model {self.name} is being unloaded.") from error
                    raise
            case RawText(text=text):
                return Rendering(text)
            case RawTokens():
                return Rendering("")

    def _write(self, conversation: Conversation, asked: float) -> Rendering:
        """On the writer's thread. A template that takes too long for one conversation must not do so for each of
        those that wait behind it."""
        assert self._encoder is not None
        if time.monotonic() - asked > PATIENCE:
            raise Overloaded(f"The chat template of {self.name} is held up by other conversations; ask again later.")
        return self._encoder.write(conversation)

    async def _read(self, request: Generation) -> tuple[list[int], tuple[str, ...]]:
        """The tokens of a prompt, with what is to be told of how it was written.

        Rendering and tokenising a long one takes a while, and others must go on meanwhile, short ones too.
        """
        most = most_bytes(self.spec.context)
        if (size := prompt_bytes(request)) > most:
            raise PromptTooLarge(size, most, self.spec.context)
        written = await self._written(request)
        if (size := max(size, text_bytes(written.text))) > most:
            raise PromptTooLarge(size, most, self.spec.context)
        lane = self._lanes.reading if size <= SHORT else self._lanes.long_reading
        return await lane.run(self._encode, request, written.text), written.notes

    async def _tokens(self, model: Embedder, request: Embedding) -> list[Sequence[int]]:
        """In portions, so that a large request holds up no other, whoever came first."""
        check_embedding(model, request)
        made: list[Sequence[int]] = []
        for portion in split_inputs(request, SHORT):
            lane = self._lanes.reading if portion.small else self._lanes.long_reading
            made += await lane.run(tokenise_inputs, model, request, portion.places)
        return made

    def _able(self, request: Request) -> Model:
        """The model. Raises RequestError where it cannot do what is asked, with the endpoint of what it can."""
        assert self._loaded is not None
        require_able(self._loaded.model, self.name, request)
        return self._loaded.model

    def _encode(self, request: Generation, text: str) -> list[int]:
        """The prompt's tokens. `text` is what `_written` made of it."""
        assert self._encoder is not None
        assert self._tokenizer is not None
        tokenizer = self._tokenizer
        context = self.spec.context
        match request.prompt:
            case Conversation():
                tokens = self._encoder.tokenise(text)
            case RawText():
                tokens = tokenizer.encode(text, special=True, begin=True)
            case RawTokens(tokens=given):
                tokens = list(given)
                if any(not 0 <= token < tokenizer.size for token in tokens):
                    raise RequestError(f"Token ids must be between 0 and {tokenizer.size - 1}.", "prompt")
        if not tokens:
            raise RequestError("The prompt is empty.", "messages")
        if len(tokens) >= context:
            raise ContextExceeded(len(tokens), context)
        return tokens

    # On the model's thread.

    def _run(self) -> None:
        try:
            self._live()
        finally:
            if self._encoder is not None:
                self._encoder.close()
            self._writer.shutdown(wait=False)
            self._tell(self._over)

    def _live(self) -> None:
        try:
            loaded = self._take(self._loader(self._stop, self._note_progress))
            loop = self._serving = self._served(loaded)
        except BenchtopError as error:
            self._fail(error)
            return
        except Exception as error:
            # The edge of the thread: nobody else would hear of it.
            log.exception("loading failed", model=self.name)
            self._fail(LoadFailed(self.name, f"Loading {self.name} failed: {error!r}."))
            return
        if self._stop.is_set():
            # `stop` came while the model loaded, and found no loop to tell.
            loop.stop()
        self._state, self._detail = ModelState.READY, ""
        spec = loaded.model.spec
        log.info("model loaded", model=self.name, engine=self.engine, slots=spec.slots, context=spec.context)
        self._tell(self._ready)
        loop.run()

    def _served(self, loaded: Loaded) -> Loop[Any]:
        """Its loop; where there can be none, the model is freed."""
        try:
            return self._loop_for(loaded.model, loaded.proposer)
        except Exception:
            self._loaded = None
            loaded.shutdown()
            raise

    def _loop_for(self, model: Model, proposer: Proposer | None) -> Loop[Any]:
        self._queue.set_slots(max(1, model.spec.slots))
        if isinstance(model, Embedder):
            return EmbeddingLoop(self.name, model, self._queue, broken=self._note_broken)
        if isinstance(model, StreamModel | Transcriber):
            return RelayLoop(self.name, model, self._queue, broken=self._note_broken)
        loop = ServingLoop(
            self.name, self._reload, self._queue, restarting=self._note_restart, broken=self._note_broken
        )
        loop.adopt(model, proposer)
        return loop

    def _reload(self) -> tuple[TokenModel, Proposer | None]:
        loaded = self._take(self._loader(self._stop, self._note_progress))
        if isinstance(loaded.model, StreamModel | Transcriber | Embedder):
            raise LoadFailed(self.name, f"The model {self.name} was loaded again by another kind of engine.")
        return loaded.model, loaded.proposer

    def _take(self, loaded: Loaded) -> Loaded:
        """From now on this is the model; also after a restart, since the old one's vocabulary is gone with it."""
        model, spec = loaded.model, loaded.model.spec
        if not isinstance(model, StreamModel | Transcriber | Embedder):
            try:
                self._tokenizer = model.tokenizer
                self._encoder = self._encoder_for(spec, model.tokenizer)
            except Exception:
                # Nobody else would free it.
                loaded.shutdown()
                raise
            loaded.notes = (*loaded.notes, *self._encoder.notes)
        self._loaded = loaded
        return loaded

    def _encoder_for(self, spec: ModelSpec, tokenizer: Tokenizer) -> PromptEncoder:
        """With the model's template, tried out. The one before, of a model that failed, is closed."""
        if self._encoder is not None:
            self._encoder.close()
        template = ChatTemplate(spec.template, spec.bos, spec.eos, model=self.name)
        for note in template.notes:
            log.warning("about the chat template", model=self.name, note=note)
        return PromptEncoder(template, tokenizer)

    def _fail(self, error: BenchtopError) -> None:
        self._error = error
        self._state, self._detail = ModelState.FAILED, str(error)
        self._tell(self._ready)

    def _note_progress(self, words: str) -> None:
        self._detail = words

    def _note_restart(self, why: str | None) -> None:
        self._state = ModelState.READY if why is None else ModelState.RESTARTING
        self._detail = why or ""

    def _note_broken(self, error: BenchtopError) -> None:
        self._state, self._detail = ModelState.FAILED, str(error).rstrip(".")

    def _tell(self, event: asyncio.Event) -> None:
        try:
            self._event_loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            # The event loop was closed meanwhile: nobody waits any more.
            log.debug("nobody waits for the model", model=self.name)
