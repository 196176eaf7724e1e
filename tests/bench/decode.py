"""Decode speed of one file, four ways: a raw llama.cpp loop, our core, our server, and llama.cpp's server.

All take the same threads and run one after another in each round, so that a noisy machine disturbs all alike; the
table holds medians over the rounds and their ratio to the raw loop. llama.cpp's server takes part when
LLAMA_SERVER names its binary.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from msgspec import Struct

from api.server import HttpServer
from core.contract.options import LoadOptions
from core.decoding.speculate import NOTHING
from core.requests import Conversation, Generation, Message, Role, Sampling, TextPart
from core.settings.model import ModelSettings
from core.settings.schema import Folders, ProbeSettings, QueueSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.bench.peer import serve_peer
from tests.bench.report import table
from tests.bench.streaming import stream_answers

STREAMS = (1, 8, 32)
CONTEXT = 2048


class DecodeSetup(Struct, frozen=True):
    """What is measured. Each stream draws `tokens`."""

    path: Path
    threads: int
    tokens: int
    rounds: int
    extra_buffers: bool = True
    flash_attention: bool | None = None
    context: int = CONTEXT
    """Tokens a stream."""
    streams: tuple[int, ...] = STREAMS
    """How many at once, a group of rows each."""


async def run(setup: DecodeSetup) -> str:
    """The table, in Markdown."""
    rows = []
    for streams in setup.streams:
        rates = await _rates(setup, streams)
        raw = median(rates["raw"])
        for way, found in rates.items():
            if found:
                middle = median(found)
                rows.append((streams, way, middle, f"{(max(found) - min(found)) / middle:.0%}", middle / raw))
    title = f"Decode, {setup.path.name}, {setup.threads} thread(s), {setup.tokens} tokens a stream"
    return table(title, ("streams", "way", "tokens/s", "spread", "of raw"), rows)


async def _rates(setup: DecodeSetup, streams: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {"raw": [], "core": [], "HTTP": [], "llama-server": []}
    async with serve_model(setup, streams) as (workbench, name, port):
        with serve_peer(
            setup.path, setup.threads, context=CONTEXT, slots=streams, extra_buffers=setup.extra_buffers
        ) as peer:
            for _ in range(setup.rounds):
                rates["raw"].append(await asyncio.to_thread(_raw, setup, streams))
                rates["core"].append(await core_rate(workbench, name, streams, setup.tokens))
                rates["HTTP"].append((await stream_answers(port, name, streams, setup.tokens)).rate)
                if peer is not None:
                    seen = await stream_answers(peer.port, peer.model, streams, setup.tokens)
                    rates["llama-server"].append(seen.rate)
    return rates


def _raw(setup: DecodeSetup, streams: int) -> float:
    """In a process of its own, as the raw loop would be: nothing else holds the interpreter."""
    code = (
        "import sys; from pathlib import Path; from tests.bench.raw import decode_rate; "
        "path, *numbers = sys.argv[1:]; print(decode_rate(Path(path), *map(int, numbers)))"
    )
    numbers = (streams, setup.tokens, setup.threads, int(setup.extra_buffers))
    done = subprocess.run(
        [sys.executable, "-c", code, str(setup.path), *map(str, numbers)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@asynccontextmanager
async def serve_model(setup: DecodeSetup, streams: int) -> AsyncIterator[tuple[Workbench, str, int]]:
    """Our workbench with the file loaded, and its server listening."""
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=0),
        # Random weights repeat themselves, and nobody else here guesses.
        model=ModelSettings(ctx_size=setup.context, slots=streams, threads=setup.threads, draft=NOTHING),
        probe=ProbeSettings(enabled=False),
    )
    with tempfile.TemporaryDirectory() as home:
        where = Folders(Path(home), Path(home), Path(home))
        options = LoadOptions(
            ctx_size=setup.context,
            slots=streams,
            threads=setup.threads,
            batch_threads=setup.threads,
            extra_buffers=setup.extra_buffers,
            flash_attention=setup.flash_attention,
        )
        workbench = Workbench(settings, where, options=options)
        name = await workbench.models.load(str(setup.path))
        server = HttpServer(workbench, settings)
        await server.start()
        try:
            yield workbench, name, int(server.url.rpartition(":")[2].strip("/"))
        finally:
            await server.stop()
            await workbench.close()


async def core_rate(workbench: Workbench, name: str, streams: int, tokens: int) -> float:
    """Through `RequestIntake.submit`, in this process."""
    prompts = [f"Count to a hundred, please, as number {number} of all." for number in range(streams)]
    firsts: list[float] = []

    async def one(text: str) -> int:
        request = Generation(
            model=name,
            prompt=Conversation((Message(Role.USER, (TextPart(text),)),)),
            sampling=Sampling(temperature=0.0),
            max_tokens=tokens,
            ignore_eos=True,
        )
        seen = False
        async for _ in await workbench.requests.submit(request):
            if not seen:
                seen = True
                firsts.append(time.perf_counter())
        return tokens - 1

    drawn = sum(await asyncio.gather(*(one(text) for text in prompts)))
    return drawn / (time.perf_counter() - min(firsts))
