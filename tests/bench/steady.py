"""Waves of conversations that have nothing in common, one after the other: what of earlier ones stays in the KV cache
must not slow down later ones."""

from __future__ import annotations

import asyncio
import time

from core.requests import Conversation, Generation, Message, Role, Sampling, TextPart
from core.workbench import Workbench
from tests.bench.decode import DecodeSetup, serve_model
from tests.bench.report import table

PROMPT_WORDS = 60


async def run(setup: DecodeSetup) -> str:
    """The table, in Markdown; `setup.rounds` waves for each number of streams."""
    rows = []
    for streams in setup.streams:
        async with serve_model(setup, streams) as (workbench, name, _):
            seconds = [await _wave(workbench, name, streams, setup.tokens, wave) for wave in range(setup.rounds)]
            left = [model.cache.entries for model in workbench.models.snapshots() if model.name == name]
        rows.append((streams, seconds[0], seconds[-1], seconds[-1] / seconds[0], max(seconds) / seconds[0], left[0]))
    title = f"{setup.rounds} waves, {setup.path.name}, {setup.threads} thread(s), {setup.tokens} tokens a stream"
    head = ("streams", "first, seconds", "last", "of first", "slowest, of first", "sequences left")
    return table(title, head, rows)


async def _wave(workbench: Workbench, name: str, streams: int, tokens: int, wave: int) -> float:
    async def ask(number: int) -> None:
        words = " ".join(f"word{(wave * 7919 + number * 31 + place) % 977}" for place in range(PROMPT_WORDS))
        text = f"Wave {wave}, number {number}: {words}. What do you make of it?"
        request = Generation(
            model=name,
            prompt=Conversation((Message(Role.USER, (TextPart(text),)),)),
            sampling=Sampling(temperature=0.0),
            max_tokens=tokens,
            ignore_eos=True,
        )
        await (await workbench.requests.submit(request)).reply()

    began = time.perf_counter()
    await asyncio.gather(*(ask(number) for number in range(streams)))
    return time.perf_counter() - began
