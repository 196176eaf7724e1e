"""A trial run: one engine, one model, some settings, in a child process that may die without harm.

This module is the child: it tells a line for each thing found. `core.trial.parent` starts it and reads those lines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TypeVar, assert_never

from msgspec import Struct
from msgspec.structs import replace

from core.contract.abilities import Measurable
from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.models import (
    Embedder,
    Model,
    Reranker,
    StreamModel,
    Threaded,
    TokenModel,
    TokenPair,
    Transcriber,
)
from core.contract.options import LoadOptions
from core.contract.step import SequenceId, Work
from core.errors import BenchtopError, MemoryShort
from core.events import Failed, Finished
from core.hardware import measure_resident
from core.requests import RawText, ResolvedGeneration, Sampling, Transcription
from core.trial.child_process import take_request
from core.trial.copying import CopyRate, count_room, measure_copying
from core.trial.rehearsal import make_noise, rehearse_model
from core.trial.weighing import import_beforehand

MOMENT_SECONDS = 5.0
"""Seconds that may be spent on finding out what a model takes."""
WARM_UP_TOKENS = 2
"""Tokens decoded before the clock starts."""
BUSY, IDLE = 0.002, 0.006
"""Seconds the stand-in for the event loop computes and sleeps, over and over."""
DEEP_STEPS = 16
"""Tokens that are decoded behind a long prompt."""
DEEP_GRAIN_TOKENS = 64
LEAST_DEEP_TOKENS = 192
"""A shorter prompt would tell nothing beside what rounds differ by."""
SHALLOW_SHARE = 0.4
"""Of the time, after which no further round is begun of a variant that is to be timed behind a long prompt too."""
DEEP_SHARE = 0.35
"""Of the time that is left, what one variant's long prompt may take: there are several, and loading takes its time."""
Text = TypeVar("Text")


class TrialRequest(Struct, frozen=True):
    """What the child is to try. `engine` is `module:Class`."""

    engine: str
    artifact: Artifact
    variants: tuple[LoadOptions, ...]
    """Settings, each loaded anew."""
    threads: tuple[int, ...]
    """Thread counts to time with each of them, where the engine can change its own; none: as the options say."""
    rounds: int
    seconds: float
    """No round is begun after so long, save the first of the first variant."""
    prompt: int = 48
    """Tokens of the prompt that is timed."""
    decoded: int = 12
    """Tokens decoded and timed; zero times the prompt alone, and its decode rates are zero."""
    depth: int = 0
    """Tokens that are in the context before the clock starts."""
    weighed: bool = True
    """Find out what the first variant takes, where the engine is Measurable."""
    copied: int = 0
    """Tokens of a text that are copied with guesses, see `core.trial.copying`; zero for none."""
    deep: int = 0
    """Decoding is timed once more behind so many tokens, or as many as there is time for; zero does without. Attention
    that is fast behind a short prompt may be slow behind a long one."""
    deepened: tuple[int, int] = (0, 0)
    """The same, to the token, and the threads, as a variant before had them; zeros where none had."""
    rehearsed: bool = True
    """Do with the first variant what serving does besides computing, see `core.trial.rehearsal`."""

    @property
    def context(self) -> int:
        usual = self.depth + self.prompt + self.decoded + WARM_UP_TOKENS + 1
        behind = max(self.deep, self.deepened[0]) + DEEP_STEPS + WARM_UP_TOKENS + 1
        return max(usual, behind, count_room(self.copied) if self.copied else 0)


class VariantLoaded(Struct, frozen=True, tag="loaded"):
    """A variant is in memory."""

    variant: int
    seconds: float


class Sampled(Struct, frozen=True, tag="sampled"):
    """One round; rates in tokens a second, of a single sequence."""

    variant: int
    threads: int
    prefill: float
    decode: float
    first_token: float
    """Seconds from handing over the prompt to its first token."""


class Deepened(Struct, frozen=True, tag="deepened"):
    """How fast a variant decodes behind a long prompt."""

    variant: int
    depth: int
    """Tokens of the prompt; the same for all variants that are compared."""
    threads: int
    decode: float
    """Tokens a second."""


class Settled(Struct, frozen=True, tag="settled"):
    """What the first variant came to take once it had computed a full batch and one token more, before which not all
    that it set aside has been touched. Told where that is a matter of a moment."""

    variant: int
    context: int
    """Tokens of the context it was loaded with, for one slot."""
    grown: int
    """Resident bytes beyond those before it was loaded."""


class VariantTried(Struct, frozen=True, tag="tried"):
    """A variant came to its end unharmed."""

    variant: int
    memory: int
    """Resident bytes of the child at that moment."""


class VariantRefused(Struct, frozen=True, tag="refused"):
    """The engine declined a variant in good order."""

    variant: int
    reason: str
    short: bool = False
    """There was too little memory, of which there may be more at another time."""


class Copied(Struct, frozen=True, tag="copied"):
    """A variant copied a text with guesses."""

    variant: int
    copy_rate: CopyRate


Line = VariantLoaded | Sampled | Deepened | Copied | Settled | VariantTried | VariantRefused
Tell = Callable[[Line], None]


def main() -> None:
    request, tell = take_request(TrialRequest)
    module, _, attribute = request.engine.partition(":")
    engine: Engine = getattr(import_module(module), attribute)()
    end = time.monotonic() + request.seconds
    for variant, options in enumerate(request.variants):
        if variant and time.monotonic() > end:
            return
        try:
            request = replace(request, deep=0, deepened=_try(engine, request, variant, options, end, tell))
        except BenchtopError as error:
            tell(VariantRefused(variant, str(error), short=isinstance(error, MemoryShort)))


def _try(
    engine: Engine, request: TrialRequest, variant: int, options: LoadOptions, end: float, tell: Tell
) -> tuple[int, int]:
    """Returns the prompt behind which it was timed, and with how many threads, as `TrialRequest.deepened` has it."""
    weighed = request.weighed and variant == 0 and isinstance(engine, Measurable)
    context = max(request.context, options.step_tokens + WARM_UP_TOKENS) if weighed else request.context
    import_beforehand(engine, request.artifact)
    before = measure_resident()
    began = time.monotonic()
    model = engine.load(request.artifact, replace(options, ctx_size=context, slots=1))
    tell(VariantLoaded(variant, time.monotonic() - began))
    if request.rehearsed and variant == 0:
        before += rehearse_model(model)
    prefill, fastest, deepened = 0.0, (0.0, 0), request.deepened
    enough = end - request.seconds * (1 - SHALLOW_SHARE if request.deep else 0)
    with _run_bystander():
        if deepened[0]:
            # What decides between the variants comes first, while there is time.
            tell(_time_behind(model, request, variant, deepened))
        for number, (threads, prefill, decode, first_token) in enumerate(_rounds(model, request)):
            tell(Sampled(variant, threads, prefill, decode, first_token))
            fastest = max(fastest, (decode, threads))
            complete = number + 1 >= len(request.threads)
            if time.monotonic() > enough and (variant or complete):
                break
        if depth := _choose_depth(request, prefill, end - time.monotonic()):
            deepened = depth, fastest[1]
            tell(_time_behind(model, request, variant, deepened))
    copied = request.copied if time.monotonic() < end else 0
    if copied and isinstance(model, TokenModel) and (copy_rate := measure_copying(model, copied)) is not None:
        tell(Copied(variant, copy_rate))
    if weighed and _fill_batch(model, prefill * min(MOMENT_SECONDS, end - time.monotonic())):
        tell(Settled(variant, context, measure_resident() - before))
    tell(VariantTried(variant, measure_resident()))
    model.shutdown()
    return deepened


def _rounds(model: Model, request: TrialRequest) -> Iterator[tuple[int, float, float, float]]:
    """Threads, prefill and decode rates, and the time to the first token, of one round after another."""
    match model:
        case Transcriber():
            return _run_listening(model, request)
        case Embedder():
            return _run_encoding(model, model.embed, lambda tokens: tokens, request)
        case Reranker():
            return _run_encoding(model, model.score, lambda tokens: TokenPair(tokens, len(tokens) // 2), request)
        case StreamModel():
            return _run_streamed(model, request)
        case TokenModel():
            return _run_stepped(model, request)
        case _:
            assert_never(model)


def _run_stepped(model: TokenModel, request: TrialRequest) -> Iterator[tuple[int, float, float, float]]:
    """Rounds with each number of threads in turn, so that a disturbance hits all alike."""
    adjustable = isinstance(model, Threaded) and bool(request.threads)
    counts = request.threads if adjustable else (model.spec.threads,)
    for _ in range(request.rounds):
        for count in counts:
            if adjustable and isinstance(model, Threaded):
                model.set_threads(count, count)
            yield count, *_round(model, request)


def _round(model: TokenModel, request: TrialRequest) -> tuple[float, float, float]:
    """Prefill and decode rates, and the time to the first token."""
    sequence = model.open(Sampling(temperature=0.0))
    tokens = [index % model.tokenizer.size for index in range(1, request.depth + request.prompt + 1)]
    _feed(model, sequence, tokens[: request.depth])
    began = time.perf_counter()
    token = _feed(model, sequence, tokens[request.depth :])
    first = time.perf_counter() - began
    for _ in range(WARM_UP_TOKENS if request.decoded else 0):
        token = _step(model, sequence, [token])
    began = time.perf_counter()
    for _ in range(request.decoded):
        token = _step(model, sequence, [token])
    decoded = time.perf_counter() - began
    model.close(sequence)
    return request.prompt / max(first, 1e-9), request.decoded / max(decoded, 1e-9), first


def _choose_depth(request: TrialRequest, prefill: float, left: float) -> int:
    """Tokens of the long prompt; zero for none. `prefill`: tokens a second of a short one, of which long ones reach
    less; `left`: seconds."""
    fits = int(prefill * left * DEEP_SHARE)
    depth = min(request.deep, fits - fits % DEEP_GRAIN_TOKENS)
    return depth if depth >= LEAST_DEEP_TOKENS else 0


def _time_behind(model: Model, request: TrialRequest, variant: int, deepened: tuple[int, int]) -> Deepened:
    """Decoding behind a long prompt; of two runs of tokens the faster one's rate, since a disturbance can only slow one
    down. Of a model that does not work token by token, the rate is zero."""
    depth, threads = deepened
    if not isinstance(model, TokenModel):
        return Deepened(variant, depth, threads, 0.0)
    if isinstance(model, Threaded) and request.threads:
        model.set_threads(threads, threads)
    sequence = model.open(Sampling(temperature=0.0))
    token = _feed(model, sequence, [index % model.tokenizer.size for index in range(1, depth + 1)])
    for _ in range(WARM_UP_TOKENS):
        token = _step(model, sequence, [token])
    rates = []
    for _ in range(2):
        began = time.perf_counter()
        for _ in range(DEEP_STEPS // 2):
            token = _step(model, sequence, [token])
        rates.append(DEEP_STEPS // 2 / max(time.perf_counter() - began, 1e-9))
    model.close(sequence)
    return Deepened(variant, depth, threads, max(rates))


def _fill_batch(model: Model, most: float) -> bool:
    """Compute a full batch and one token more, if that is not more than `most` tokens; whether it was done."""
    if not isinstance(model, TokenModel) or (batch := model.spec.batch) > most:
        return False
    sequence = model.open(Sampling(temperature=0.0))
    token = _step(model, sequence, [1] * batch)
    _step(model, sequence, [token])
    model.close(sequence)
    return True


def _feed(model: TokenModel, sequence: SequenceId, tokens: list[int]) -> int:
    """Compute tokens in as few steps as the batch allows; returns the token drawn after the last, 0 for none."""
    token = 0
    for start in range(0, len(tokens), model.spec.batch):
        token = _step(model, sequence, tokens[start : start + model.spec.batch])
    return token


def _step(model: TokenModel, sequence: SequenceId, tokens: list[int]) -> int:
    (step,) = model.step([Work(sequence, tokens, sample=True)])
    return step.tokens[0]


def _run_streamed(model: StreamModel, request: TrialRequest) -> Iterator[tuple[int, float, float, float]]:
    """Rounds of a model that schedules itself, by the timings it reports."""
    asked = ResolvedGeneration(
        "trial", RawText("1 2 3 4 5 6 7 8"), Sampling(temperature=0.0), max_tokens=request.decoded
    )
    for _ in range(request.rounds):
        for event in model.generate(asked, threading.Event()):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                usage, timings = event.usage, event.timings
                prefill = timings.prefill_rate(usage.prompt_tokens)
                yield model.spec.threads, prefill, timings.decode_rate(usage.completion_tokens), timings.prefill


def _run_listening(model: Transcriber, request: TrialRequest) -> Iterator[tuple[int, float, float, float]]:
    """Rounds of a model that hears a second of noise; its rates are in frames of audio, all in one pass."""
    asked = Transcription("trial", b"", language="en", fallback=False)
    second = make_noise(1.0)
    counts = request.threads if isinstance(model, Threaded) and request.threads else (model.spec.threads,)
    for _ in range(request.rounds):
        for count in counts:
            if isinstance(model, Threaded):
                model.set_threads(count, count)
            began = time.perf_counter()
            for _event in model.transcribe(asked, second, threading.Event()):
                pass
            spent = max(time.perf_counter() - began, 1e-9)
            yield count, model.spec.batch / spent, model.spec.batch / spent, spent


def _run_encoding(
    model: Embedder | Reranker,
    compute: Callable[[Sequence[Text]], object],
    wrap: Callable[[Sequence[int]], Text],
    request: TrialRequest,
) -> Iterator[tuple[int, float, float, float]]:
    """Rounds of a model that makes one thing of a text of as many tokens as the prompt has; its rates are tokens of
    text. `wrap` makes of tokens what the model takes."""
    length = min(request.prompt, model.spec.context)
    text = wrap([index % model.vocabulary for index in range(1, length + 1)])
    counts = request.threads if isinstance(model, Threaded) and request.threads else (model.spec.threads,)
    compute([text])
    for _ in range(request.rounds):
        for count in counts:
            if isinstance(model, Threaded):
                model.set_threads(count, count)
            began = time.perf_counter()
            compute([text])
            spent = max(time.perf_counter() - began, 1e-9)
            yield count, length / spent, length / spent, spent


@contextmanager
def _run_bystander() -> Iterator[None]:
    """An interpreter as busy as one that serves: threads that spin pay for it, and must be timed so."""
    over = threading.Event()
    thread = threading.Thread(target=_event_loop_stand_in, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _event_loop_stand_in(over: threading.Event) -> None:
    while not over.wait(IDLE):
        end = time.perf_counter() + BUSY
        while time.perf_counter() < end:
            pass


if __name__ == "__main__":
    main()
