"""What forms that are made to cost much do to a stream beside them.

A bystander streams all the while. After its first tokens another client asks for an answer of a hostile form, at a
temperature at which a model wanders, and asks again as soon as it has its answer or is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.decoding.masks.trials import FormTrials
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import BenchtopError
from core.events import TextDelta
from core.guide import WEIGHTS
from core.requests import AnswerForm, Constraint, Generation, RawText, Sampling
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.bench.report import table
from tests.fakes.hostile import make_hostile_forms

BEFORE_TOKENS = 16
"""That the bystander draws before the hostile client comes."""
HOSTILE_TOKENS = 64
RETRY_SECONDS = 0.02
CONTEXT = 1024
HOT = 1.5
PROMPT = "Write a story of a thousand words about a lighthouse.\n"


class Bystander(Struct, frozen=True):
    """What became of the stream once the other client was there."""

    rate: float
    """Tokens a second."""
    gap: float
    """The longest time between two deliveries, in seconds."""


class OtherClient:
    """Asks for the same again and again."""

    def __init__(self, host: Host, form: AnswerForm | None) -> None:
        self._host = host
        self._form = form
        self.asked = 0
        self.told = ""
        """At last."""

    async def ask_again(self) -> None:
        while True:
            self.asked += 1
            try:
                wanted = _ask(self._host, self._form, HOSTILE_TOKENS, HOT)
                reply = await (await self._host.submit(wanted)).reply()
                self.told = f"an answer of {reply.usage.completion_tokens} tokens"
            except BenchtopError as error:
                self.told = str(error)
                # As soon as a client comes again that goes by the errors it gets.
                await asyncio.sleep(RETRY_SECONDS)


def run(path: Path | None, threads: int, tokens: int) -> Iterator[str]:
    """A table a model, in Markdown. The bystander draws `tokens` beside each form."""
    for each in (WEIGHTS, *([path] if path is not None else [])):
        yield asyncio.run(_table(Artifact(each.stem, "gguf", each, each.stat().st_size), threads, tokens))


async def _table(artifact: Artifact, threads: int, tokens: int) -> str:
    options = LoadOptions(ctx_size=CONTEXT, slots=4, threads=threads, batch_threads=threads, extra_buffers=False)
    trials = FormTrials()
    host = Host(
        artifact.name,
        lambda *_: LoadedModel(LlamaCppEngine().load(artifact, options), "llamacpp"),
        max_queue=0,
        queue_timeout=60.0,
        slots=None,
        trials=trials,
    )
    host.start()
    try:
        await host.ready()
        await _watch(host, None, tokens)
        alone = await _watch(host, None, tokens)
        other = OtherClient(host, None)
        free = await _watch(host, other, tokens)
        rows: list[tuple[object, ...]] = [
            ("nobody", 0, alone.rate, alone.rate / free.rate, 1e3 * alone.gap, ""),
            ("an answer without a form", other.asked, free.rate, 1.0, 1e3 * free.gap, other.told),
        ]
        for name, form in make_hostile_forms().items():
            other = OtherClient(host, form)
            found = await _watch(host, other, tokens)
            rows.append((name, other.asked, found.rate, found.rate / free.rate, 1e3 * found.gap, other.told))
    finally:
        await host.stop()
        trials.close()
    resident = psutil.Process().memory_info().rss / 1e6
    beside = f"{artifact.name}, {threads} threads; {resident:.0f} MB at last"
    title = f"A stream of {tokens} tokens beside a hostile form, {beside}"
    head = ("beside", "asked", "tokens/s", "of beside a free answer", "longest gap, ms", "what the other is told")
    return table(title, head, rows)


async def _watch(host: Host, other: OtherClient | None, tokens: int) -> Bystander:
    """A stream of so many tokens beside another client."""
    began = asyncio.Event()
    seen: list[tuple[float, int]] = []

    async def stream() -> None:
        drawn = 0
        async for batch in await host.submit(_ask(host, None, BEFORE_TOKENS + tokens, 0.0)):
            drawn += sum(event.tokens for event in batch if isinstance(event, TextDelta))
            if drawn >= BEFORE_TOKENS:
                seen.append((time.perf_counter(), drawn))
                began.set()

    bystander = asyncio.create_task(stream())
    await began.wait()
    asking = asyncio.create_task(other.ask_again()) if other is not None else None
    await bystander
    if asking is not None:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
    (first, before), (last, after) = seen[0], seen[-1]
    return Bystander((after - before) / (last - first), max(b[0] - a[0] for a, b in pairwise(seen)))


def _ask(host: Host, form: AnswerForm | None, tokens: int, temperature: float) -> Generation:
    return Generation(
        host.name,
        RawText(PROMPT),
        sampling=Sampling(temperature=temperature),
        max_tokens=tokens,
        ignore_eos=form is None,
        constraint=Constraint(form, "response_format") if form is not None else None,
    )
