"""What `--reproducible` costs: tokens a second of prompts and answers, alone and in company, and the KV cache's memory.

Both ways are loaded at once and asked in turn, so that a noisy machine disturbs both alike.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from core.requests import Generation, RawTokens, SamplingWish
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.workbench import Workbench
from tests.bench.report import table
from tests.fakes.support import folders_in

CONTEXT = 2048
SLOTS = 4
PROMPT_TOKENS = 1024
ROUNDS = 3


@asynccontextmanager
async def _running(
    model: Path, threads: int, folder: Path, *, reproducible: bool
) -> AsyncIterator[tuple[Workbench, str]]:
    settings = Settings(
        model=ModelSettings(
            engine="llamacpp",
            ctx_size=CONTEXT,
            slots=SLOTS,
            threads=threads,
            batch_threads=threads,
            extra_buffers=False,
            reproducible=reproducible or None,
        ),
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )
    workbench = Workbench(settings, folders_in(folder))
    try:
        yield workbench, await workbench.models.load(str(model))
    finally:
        await workbench.close()


async def _draw(workbench: Workbench, name: str, prompt: int, tokens: int) -> tuple[float, float]:
    """Prompt tokens a second and drawn tokens a second of one request whose prompt nobody has computed before."""
    first = time.perf_counter_ns() % 5000
    asked = tuple(1000 + (first + index * 7) % 5000 for index in range(prompt))
    wanted = Generation(
        name,
        RawTokens(asked),
        SamplingWish(temperature=0.0),
        max_tokens=tokens,
        ignore_eos=True,
        cache=False,
    )
    timings = (await (await workbench.requests.submit(wanted)).reply()).timings
    return prompt / timings.prefill, (tokens - 1) / timings.decode if tokens > 1 else 0.0


async def _measure(workbench: Workbench, name: str, tokens: int) -> dict[str, float]:
    found = {"prompt, alone": (await _draw(workbench, name, PROMPT_TOKENS, 1))[0]}
    found["answer, alone"] = (await _draw(workbench, name, 16, tokens))[1]
    rates = await asyncio.gather(*(_draw(workbench, name, 16, tokens) for _ in range(SLOTS)))
    found[f"answers, {SLOTS} at once"] = sum(rate for _, rate in rates)
    return found


async def run(model: Path, threads: int, tokens: int) -> str:
    """The table, in Markdown."""
    rounds: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    memory: dict[bool, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            ways = {
                way: await stack.enter_async_context(_running(model, threads, Path(folder), reproducible=way))
                for way in rounds
            }
            for _ in range(ROUNDS):
                for way, (workbench, name) in ways.items():
                    rounds[way].append(await _measure(workbench, name, tokens))
            for way, (workbench, name) in ways.items():
                spec = workbench.models.spec(name)
                memory[way] = spec.cells * spec.kv_bytes_per_token / 1e6
    rows: list[tuple[object, ...]] = []
    for what in rounds[False][0]:
        usual, apart = (median(each[what] for each in rounds[way]) for way in (False, True))
        rows.append((f"{what}, tokens/s", usual, apart, apart / usual))
    rows.append(("KV cache, MB", memory[False], memory[True], memory[True] / memory[False]))
    title = f"--reproducible, {model.name}, {threads} thread(s), {SLOTS} slots of {CONTEXT} tokens, {ROUNDS} rounds"
    return table(title, ("what", "without", "with", "with of without"), rows)
