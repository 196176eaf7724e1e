"""What loop and server cost a token, with the echo engine, which itself costs next to nothing."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from api.server import HttpServer
from core.requests import Generation, RawText
from core.settings.model import ModelSettings
from core.settings.schema import Folders, QueueSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.bench.client import ASKINGS
from tests.bench.decode import client
from tests.bench.report import table

TOKENS = 1000
"""Of each stream."""
ROUNDS = 5


async def run() -> str:
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=0),
        # A guess that comes true would make one event of several tokens.
        model=ModelSettings(ctx_size=16_384, slots=32, draft="none"),
    )
    rows = []
    with tempfile.TemporaryDirectory() as home:
        workbench = Workbench(settings, Folders(Path(home), Path(home), Path(home)))
        await workbench.models.load("echo")
        server = HttpServer(workbench, settings)
        await server.start()
        port = int(server.url.rpartition(":")[2].strip("/"))
        for streams in (1, 8, 32):
            core = [await _core(workbench, streams) for _ in range(ROUNDS)]
            rows.append((streams, median(core), *[await _http(port, streams, dialect) for dialect in ASKINGS]))
        await server.stop()
        await workbench.close()
    asked = (f"loop + HTTP, {dialect}, µs a token" for dialect in ASKINGS)
    return table("Overhead with the echo engine", ("streams", "loop, µs a token", *asked), rows)


async def _http(port: int, streams: int, dialect: str) -> float:
    """Microseconds a token, after each stream's first."""
    return median([1e6 / await client(port, "echo", streams, TOKENS, dialect) for _ in range(ROUNDS)])


async def _core(workbench: Workbench, streams: int) -> float:
    """Microseconds a token, from submitting to the last event."""

    async def one(number: int) -> None:
        request = Generation(model="echo", prompt=RawText(f"{number}"), max_tokens=TOKENS, ignore_eos=True)
        async for _ in await workbench.requests.submit(request):
            pass

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(streams)))
    return (time.perf_counter() - began) * 1e6 / (TOKENS * streams)
