"""What writing the prefix cache costs a stream: its decode rate while states of other requests are written to disk.

The same model is loaded twice, with the disk tier and without, and each is asked in turn: some prompts, which leave
their states, and then the stream that is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median

from core.cache.disk import list_stored_files
from core.requests import Generation, RawTokens, SamplingWish
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, CacheSettings, ProbeSettings, Settings
from core.workbench import Workbench
from tests.bench.report import table
from tests.fakes.support import folders_in

CONTEXT = 2048
SLOTS = 2
PROMPTS = 3
PROMPT_TOKENS = 500
STREAM_TOKENS = 256
"""Longer than a state settles before it is written."""


@asynccontextmanager
async def _running(model: Path, threads: int, folder: Path, *, disk: bool) -> AsyncIterator[tuple[Workbench, str]]:
    settings = Settings(
        model=ModelSettings(
            engine="llamacpp",
            ctx_size=CONTEXT,
            slots=SLOTS,
            threads=threads,
            batch_threads=threads,
            extra_buffers=False,
            draft="none",
        ),
        cache=CacheSettings(disk=disk),
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )
    workbench = Workbench(settings, folders_in(folder))
    try:
        yield workbench, await workbench.models.load(str(model))
    finally:
        await workbench.close()


async def _decode_rate(workbench: Workbench, name: str, random: Random) -> float:
    """Tokens a second of a stream behind PROMPTS new prompts."""
    for _ in range(PROMPTS):
        await _draw(workbench, name, [random.randrange(1000, 6000) for _ in range(PROMPT_TOKENS)], 1)
    seconds = await _draw(workbench, name, [random.randrange(1000, 6000) for _ in range(16)], STREAM_TOKENS)
    return (STREAM_TOKENS - 1) / seconds


async def _draw(workbench: Workbench, name: str, tokens: list[int], count: int) -> float:
    """Seconds from the first token to the last."""
    wanted = Generation(
        name, RawTokens(tuple(tokens)), SamplingWish(temperature=0.0), max_tokens=count, ignore_eos=True
    )
    return (await (await workbench.requests.submit(wanted)).reply()).timings.decode


async def run(model: Path, threads: int, rounds: int) -> str:
    """The table, in Markdown."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    written: list[int] = []
    with tempfile.TemporaryDirectory() as home:
        async with AsyncExitStack() as stack:
            folders = {way: Path(home) / str(way) for way in rates}
            ways = {
                way: await stack.enter_async_context(_running(model, threads, folders[way], disk=way)) for way in rates
            }
            for number in range(rounds):
                # Whoever is asked second finds the machine warmer.
                for way in (True, False) if number % 2 else (False, True):
                    before = sum(1 for _ in list_stored_files(folders[way]))
                    rates[way].append(await _decode_rate(*ways[way], Random(number)))
                    written += [sum(1 for _ in list_stored_files(folders[way])) - before] if way else []
    ratios = [on / off for on, off in zip(rates[True], rates[False], strict=True)]
    head = (
        "tokens/s with the disk tier",
        "without",
        "of without, median of the rounds",
        "least",
        "most",
        "files a round",
    )
    row = (median(rates[True]), median(rates[False]), median(ratios), min(ratios), max(ratios), median(written))
    title = f"A stream while {PROMPTS} states of {PROMPT_TOKENS} tokens are stored: {model.stem}, {rounds} rounds"
    return table(title, head, [row])
