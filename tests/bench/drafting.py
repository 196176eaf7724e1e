"""Decode speed with guesses against without, where all come true and where none does.

The model is of 1.5 B shape. What drafts for it in the best case are its own first layers: the others add nothing, so
that every guess comes true; for prompt lookup it is a model that repeats itself. What real models and texts gain lies
between the rows.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from core.contract.artifact import Artifact
from core.contract.models import TokenModel, Trims
from core.contract.options import LoadOptions
from core.decoding.drafting import DraftModel
from core.decoding.speculate import GuessWish, PromptLookup, Proposer
from core.engines.llamacpp.engine import LlamaCppEngine
from core.requests import Generation, RawText, Sampling
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.bench import shapes
from tests.bench.report import PROMPT, table

SHAPE = "1.5b"
LAYERS = 2
"""Of the model that drafts; the large one has 28."""
CONTEXT = 1024
GREEDY = Sampling(temperature=0.0)


class Wrong:
    """Guesses a token that is never drawn, at no cost of its own."""

    name = "wrong"
    promised = 0

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [[0] * wish.most for wish in wishes]

    def forget(self, key: Hashable) -> None: ...

    def shutdown(self) -> None: ...


async def run(folder: Path, threads: int, tokens: int, rounds: int) -> str:
    """The table, in Markdown. `folder` keeps the random weights for the next time."""
    large, small = (write(SHAPE, folder, LAYERS) for write in (shapes.write_speaking, shapes.write_layers))
    repeating = shapes.write_speaking(SHAPE, folder, 0)
    options = LoadOptions(ctx_size=CONTEXT, slots=1, threads=threads, batch_threads=threads)

    def load(path: Path) -> TokenModel:
        artifact = Artifact(path.stem, "gguf", path, path.stat().st_size)
        return LlamaCppEngine().load(artifact, options)

    def draft() -> DraftModel:
        model = load(small)
        assert isinstance(model, Trims)
        return DraftModel("draft", model, model.tokenizer.size)

    ways: dict[str, tuple[Path, Callable[[], Proposer]]] = {
        f"draft model of {LAYERS} layers, all true": (large, draft),
        "prompt lookup, all true": (repeating, PromptLookup),
        "prompt lookup, nothing repeats": (large, PromptLookup),
        "all wrong": (large, Wrong),
    }
    rows = []
    for way, (path, make) in ways.items():
        async with _hosting(load(path), None) as plain, _hosting(load(path), make()) as guessing:
            without, guessed = [], []
            await _rate(plain, tokens)
            await _rate(guessing, tokens)
            for _ in range(rounds):
                without.append(await _rate(plain, tokens))
                guessed.append(await _rate(guessing, tokens))
            stats = guessing.snapshot().draft
        assert stats is not None
        share = f"{stats.kept:,} of {stats.guessed:,}"
        rows.append((way, share, median(without), median(guessed), median(guessed) / median(without)))
    what = f"random weights of {SHAPE} shape in Q8_0, {threads} thread(s), {tokens} tokens, {rounds} rounds"
    title = f"Guessing ahead, {what}, one stream"
    return table(title, ("what guesses", "came true", "tokens/s without", "with", "ratio"), rows)


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


async def _rate(host: Host, tokens: int) -> float:
    """Tokens a second from the first one on."""
    stream = await host.submit(
        Generation("large", RawText(PROMPT), GREEDY, max_tokens=tokens, ignore_eos=True, cache=False)
    )
    first = 0.0
    async for _ in stream:
        first = first or time.perf_counter()
    return (tokens - 1) / (time.perf_counter() - first)
