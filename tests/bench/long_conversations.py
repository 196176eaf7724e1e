"""What a conversation of very many turns does to a stream beside it, in each dialect.

A bystander streams from the echo model all the while. Another client sends one request after the other, each of so many
turns that nothing but reading it takes long: it is refused at its end, where the prompt is found to be too long.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx

from api.server import HttpServer
from core.settings.model import ModelSettings
from core.settings.schema import Folders, ServerSettings, Settings
from core.workbench import Workbench
from tests.bench.report import table

TURNS = 40_000
BYSTANDER_WORDS = 5_000
ROUNDS = 3
REST_SECONDS = 2.0
"""That the bystander streams alone, to compare with."""


def build_bodies(turns: int) -> Mapping[str, dict[str, object]]:
    """By path, a request of so many turns."""
    said = [{"role": ("user", "assistant")[number % 2], "content": "a word"} for number in range(turns - 1)]
    said.append({"role": "user", "content": "and now?"})
    return {
        "/v1/chat/completions": {"messages": said},
        "/v1/chat/completions/input_tokens": {"messages": said},
        "/v1/responses": {"input": said, "store": False},
        "/v1/messages": {"messages": said, "max_tokens": 1},
    }


async def run() -> str:
    """A table in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        settings = Settings(server=ServerSettings(port=0), model=ModelSettings(ctx_size=65_536))
        workbench = Workbench(settings, Folders(config=path / "c", cache=path / "k", state=path / "s"))
        server = HttpServer(workbench, settings)
        try:
            await workbench.models.load("echo")
            await server.start()
            async with httpx.AsyncClient(base_url=server.url, timeout=120.0) as client:
                rows = await _measure(client)
        finally:
            await server.stop(drain=0)
            await workbench.close()
    head = ("beside", "requests", "longest gap, ms", "99th percentile, ms", "a request, s", "answered with")
    return table(f"A stream beside conversations of {TURNS:,} turns", head, rows)


async def _measure(client: httpx.AsyncClient) -> list[tuple[object, ...]]:
    gaps = await _stream_beside(client, asyncio.sleep(REST_SECONDS))
    rows: list[tuple[object, ...]] = [("nobody", 0, *_tell_gaps(gaps), 0.0, "")]
    for path, body in build_bodies(TURNS).items():
        content = json.dumps({"model": "echo"} | body).encode()
        spent: list[float] = []
        told: set[int] = set()
        gaps = await _stream_beside(client, _send_again(client, path, content, spent, told))
        rows.append((path, len(spent), *_tell_gaps(gaps), sum(spent) / len(spent), ", ".join(map(str, sorted(told)))))
    return rows


async def _send_again(client: httpx.AsyncClient, path: str, content: bytes, spent: list[float], told: set[int]) -> None:
    for _ in range(ROUNDS):
        began = time.perf_counter()
        told.add((await client.post(path, content=content)).status_code)
        spent.append(time.perf_counter() - began)


async def _stream_beside(client: httpx.AsyncClient, other: Awaitable[None]) -> list[float]:
    """Seconds between the deliveries of a stream, as long as `other` takes."""
    seen: list[float] = []

    async def read() -> None:
        body = {"model": "echo", "prompt": "word " * BYSTANDER_WORDS, "max_tokens": -1, "stream": True}
        while True:
            async with client.stream("POST", "/v1/completions", json=body) as response:
                async for _ in response.aiter_bytes():
                    seen.append(time.perf_counter())  # noqa: PERF401 - each is noted when it comes

    reader = asyncio.create_task(read())
    while len(seen) < 10:
        await asyncio.sleep(0.01)
    seen.clear()
    await other
    reader.cancel()
    with suppress(asyncio.CancelledError):
        await reader
    return [after - before for before, after in pairwise(seen)]


def _tell_gaps(gaps: list[float]) -> tuple[float, float]:
    """The longest, and one of a hundred, in milliseconds."""
    ordered = sorted(gaps)
    return 1e3 * ordered[-1], 1e3 * ordered[int(len(ordered) * 0.99)]
