"""Decode speed with guesses against without.

With random weights: where all come true and where none does. The model is of 1.5 B shape. What drafts for it in the
best case are its own first layers: the others add nothing, so that every guess comes true; for prompt lookup it is a
model that repeats itself, and so for heads of the model's own, that know it or do not. With a real model (`--model`): a
file of code that is to be returned with a change, the same once more in a later request, and texts that repeat nothing;
the same with a draft model (`--draft`), and with heads that the file has.
"""

from __future__ import annotations

import bisect
import inspect
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import PredictsAhead, TokenModel, Trims
from core.contract.options import LoadOptions
from core.decoding.drafting import DraftModel
from core.decoding.lookup import PromptLookup
from core.decoding.mtp import MtpDraft
from core.decoding.speculate import GuessWish, Proposer
from core.events import Finished
from core.models.formats.read import read_header
from core.requests import Conversation, Generation, Message, Prompt, RawText, Role, SamplingWish, TextPart
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import DraftStats
from tests.bench import shapes
from tests.bench.report import PROMPT, table
from tests.fakes.guessing import GuessingStub
from tests.fakes.loading import load_decoder

SHAPE = "1.5b"
LAYERS = 2
"""Of the model that drafts; the large one has 28."""
CONTEXT = 1024
GREEDY = SamplingWish(temperature=0.0)
HEADS = "its own heads"
HEAD = ("what guesses", "text", "came true", "tokens/s without", "with", "ratio")

EDIT = (
    f"```python\n{inspect.getsource(bisect)}```\nReturn the whole file with this change: insort_right and insort_left "
    "raise TypeError with a message when `a` is a tuple."
)
ESSAY = "Write an essay of 400 words about how tides arise and why harbours differ."
SAMPLED = SamplingWish(temperature=1.0, top_k=0, top_p=1.0, seed=1)
"""Nothing repeats less: greedily drawn texts of small models go round in circles."""
TEXTS = {
    "code edit": (EDIT, GREEDY),
    "essay": (ESSAY, GREEDY),
    "essay, sampled": (ESSAY, SAMPLED),
    "new code": ("Write a Python class for an LRU cache with a time to live for each entry, with tests.", GREEDY),
}
REAL_CONTEXT = 3072


Make = Callable[[TokenModel], Proposer]


class Wrong(GuessingStub):
    """Guesses a token that is never drawn, at no cost of its own."""

    name = "wrong"

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [[0] * wish.most for wish in wishes]


class RealSetup(Struct, frozen=True):
    """What is measured on real weights."""

    model: Path
    draft: Path | None
    threads: int
    tokens: int
    rounds: int
    extra_buffers: bool


async def run(folder: Path, threads: int, tokens: int, rounds: int, *, extra_buffers: bool) -> str:
    """The table of random weights, in Markdown. `folder` keeps them for the next time."""
    large, small = (write(SHAPE, folder, LAYERS) for write in (shapes.write_speaking, shapes.write_layers))
    repeating = shapes.write_speaking(SHAPE, folder, 0)
    options = LoadOptions(
        ctx_size=CONTEXT, slots=1, threads=threads, batch_threads=threads, extra_buffers=extra_buffers
    )
    right, wrong = (shapes.write_foreseeing(SHAPE, folder, right=right) for right in (True, False))
    ways: list[tuple[str, str, Path, Make]] = [
        (f"draft model of {LAYERS} layers", "all true", large, lambda _: _draft(small, options)),
        ("prompt lookup", "repeats itself", repeating, _look_up),
        ("prompt lookup", "nothing repeats", large, _look_up),
        ("wrong guesses", "any", large, lambda _: Wrong()),
        (HEADS, "all true", right, _ask_heads),
        (HEADS, "none true", wrong, _ask_heads),
    ]
    rows = []
    for way, text, path, make in ways:
        model = _load(path, replace(options, mtp=way == HEADS))
        async with _hosting(_load(path, options), None) as plain, _hosting(model, make(model)) as guessing:
            without, guessed = [], []
            for number in range(rounds + 1):
                request = _asks(RawText(PROMPT), f"{number}", tokens, ignore_eos=True)
                without.append(await _rate(plain, request))
                guessed.append(await _rate(guessing, request))
            rows.append(_row(way, text, guessing.snapshot().draft, without[1:], guessed[1:]))
    what = f"random weights of {SHAPE} shape in Q8_0, {threads} thread(s), {tokens} tokens, {rounds} rounds"
    return table(f"Guessing ahead, {what}, one stream", HEAD, rows)


async def run_real(setup: RealSetup) -> str:
    """The table of a real model, in Markdown, and below it how often each guess of a step came true.

    Every text is of a tenant of its own, so that nothing is known of it; `again` is the same tenant's next request.
    """
    options = LoadOptions(
        ctx_size=REAL_CONTEXT,
        slots=1,
        threads=setup.threads,
        batch_threads=setup.threads,
        extra_buffers=setup.extra_buffers,
    )
    rows, below = [], []
    makes: dict[str, Make] = {"prompt lookup": _look_up}
    if (path := setup.draft) is not None:
        makes = {path.stem: lambda _: _draft(path, options)}
    elif read_header(_artifact(setup.model)).mtp_layers:
        makes[HEADS] = _ask_heads
    async with _hosting(_load(setup.model, options), None) as plain:
        for way, make in makes.items():
            model = _load(setup.model, replace(options, mtp=way == HEADS))
            async with _hosting(model, make(model)) as guessing:
                await _rate(guessing, _asks(_said("Count from one to thirty."), "warm", 40))
                for name, (text, sampling) in TEXTS.items():
                    before = guessing.snapshot().draft or DraftStats(way)
                    without, guessed, again = [], [], []
                    for number in range(setup.rounds):
                        request = _asks(_said(text), f"{name} {number}", setup.tokens, sampling)
                        without.append(await _rate(plain, request))
                        guessed.append(await _rate(guessing, request))
                        if text is EDIT and setup.draft is None:
                            again.append(await _rate(guessing, request))
                    stats = _since(guessing.snapshot().draft or before, before)
                    rows.append(_row(way, name, stats, without, guessed))
                    if again:
                        rows.append(_row(way, f"{name}, again", None, without, again))
                    below.append(_tell_positions(f"{way}, {name}", stats))
    what = f"{setup.model.stem}, {setup.threads} thread(s), {setup.tokens} tokens at most, {setup.rounds} round(s)"
    return "\n".join([table(f"Guessing ahead, {what}, one stream", HEAD, rows), *below, ""])


def _load(path: Path, options: LoadOptions) -> TokenModel:
    return load_decoder(_artifact(path), options)


def _artifact(path: Path) -> Artifact:
    return Artifact(path.stem, "gguf", path, path.stat().st_size)


def _look_up(_: TokenModel) -> Proposer:
    return PromptLookup()


def _ask_heads(model: TokenModel) -> Proposer:
    assert isinstance(model, PredictsAhead)
    return MtpDraft(model)


def _draft(path: Path, options: LoadOptions) -> DraftModel:
    model = _load(path, options)
    assert isinstance(model, Trims)
    return DraftModel(path.stem, model, model.tokenizer.size)


@asynccontextmanager
async def _hosting(model: TokenModel, proposer: Proposer | None) -> AsyncIterator[Host]:
    host = Host(
        "large", lambda *_: LoadedModel(model, "llamacpp", (), proposer), max_queue=0, queue_timeout=60.0, slots=1
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


def _said(text: str) -> Prompt:
    return Conversation((Message(Role.USER, (TextPart(text),)),))


def _asks(
    prompt: Prompt, salt: str, tokens: int, sampling: SamplingWish = GREEDY, *, ignore_eos: bool = False
) -> Generation:
    return Generation("large", prompt, sampling, max_tokens=tokens, ignore_eos=ignore_eos, cache_salt=salt)


async def _rate(host: Host, request: Generation) -> float:
    """Tokens a second from the first one on."""
    stream = await host.submit(request)
    first, drawn = 0.0, 0
    async for events in stream:
        first = first or time.perf_counter()
        drawn += sum(event.usage.completion_tokens for event in events if isinstance(event, Finished))
    return (drawn - 1) / (time.perf_counter() - first)


def _row(
    way: str, text: str, stats: DraftStats | None, without: Sequence[float], guessed: Sequence[float]
) -> tuple[object, ...]:
    share = f"{stats.kept:,} of {stats.guessed:,}" if stats is not None else ""
    ratio = median(one / other for one, other in zip(guessed, without, strict=True))
    return (way, text, share, median(without), median(guessed), ratio)


def _since(now: DraftStats, before: DraftStats) -> DraftStats:
    """What came between; positions from the beginning on."""
    return DraftStats(
        now.by,
        now.guessed - before.guessed,
        now.kept - before.kept,
        now.positions,
        now.seconds_lost - before.seconds_lost,
        now.seconds_gained - before.seconds_gained,
    )


def _tell_positions(what: str, stats: DraftStats) -> str:
    shares = ", ".join(f"{each.acceptance:.0%}" for each in stats.positions[:16])
    return (
        f"{what}: {stats.seconds_lost:.1f} s lost, {stats.seconds_gained:.1f} s gained; "
        f"came true so far, by position: {shares}."
    )
