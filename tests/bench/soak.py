"""Minutes of mixed traffic, much of it left by its clients, against a server in a process of its own; and what that
server holds at rest afterwards, beside what it held after a warm-up."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import httpx
import msgspec

from tests.bench.report import table
from tests.fakes.traffic import RestCounts, Traffic

CLIENTS = 8
WARM_SHARE = 0.2
"""Of the time, in which pools of threads, caches and allocators come to their size."""
RELOAD_SECONDS = 20.0
LINE_BYTES = 1 << 20
GROWTH_SHARE = 0.08
GROWTH_BYTES = 16_000_000
"""What memory may grow by, between two rests, without being called a leak: allocators keep some of what is freed."""
POOLED = 4
"""Threads and processes that a pool may have begun since the warm-up, at the most: pools are bounded."""


async def run(model: Path, embedder: Path | None, minutes: float) -> str:
    """The table, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        command = (
            sys.executable,
            "-m",
            "tests.bench.soak_server",
            folder,
            str(model),
            *([str(embedder)] if embedder is not None else []),
        )
        pipe = asyncio.subprocess.PIPE
        server = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        try:
            return await _measure(server, minutes)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            await server.wait()


async def _measure(server: asyncio.subprocess.Process, minutes: float) -> str:
    assert server.stdout is not None
    url, name, *embedders = msgspec.json.decode(await server.stdout.readline(), type=list[str])
    random = Random(1)
    done: Counter[str] = Counter()
    odd: Counter[str] = Counter()

    async def traffic(seconds: float) -> None:
        # All connections are closed behind it: they would be counted.
        async with httpx.AsyncClient(base_url=url, timeout=120.0) as http:
            clients = [Traffic(http, name, Random(random.random()), *embedders) for _ in range(CLIENTS)]
            end = time.monotonic() + seconds
            await asyncio.gather(*(_client(each, end) for each in clients), _reloader(clients[0], end))
        for each in clients:
            done.update(each.requests)
            odd.update(each.odd)

    await traffic(60 * minutes * WARM_SHARE)
    warm = await _ask(server)
    asked = done.total()
    await traffic(60 * minutes * (1 - WARM_SHARE))
    last = await _ask(server)
    title = f"{minutes:g} minutes of mixed traffic by {CLIENTS} clients, {name}: {done.total() - asked} requests since"
    kinds = ", ".join(f"{kind} {count}" for kind, count in done.most_common())
    strange = ", ".join(f"{kind} {count}" for kind, count in odd.items()) or "none"
    lines = table(f"{title} the warm-up", ("at rest", "after the warm-up", "at the end", "leak"), _rows(warm, last))
    return f"{lines}\nRequests: {kinds}. Unexpected answers: {strange}.\n"


async def _client(traffic: Traffic, end: float) -> None:
    while time.monotonic() < end:
        await traffic.act()


async def _reloader(traffic: Traffic, end: float) -> None:
    while time.monotonic() + RELOAD_SECONDS < end:
        await asyncio.sleep(RELOAD_SECONDS)
        await traffic.reload()


async def _ask(server: asyncio.subprocess.Process) -> tuple[RestCounts, RestCounts]:
    """What the server holds with its models, and without them."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(b"count\n")
    await server.stdin.drain()
    return msgspec.json.decode(await server.stdout.readline(), type=tuple[RestCounts, RestCounts])


def _rows(warm: tuple[RestCounts, RestCounts], last: tuple[RestCounts, RestCounts]) -> list[tuple[object, ...]]:
    loaded, freed = last
    before_loaded, before = warm

    def row(what: str, then: int, now: int, allowed: int) -> tuple[object, ...]:
        return what, then, now, "yes" if now > allowed else "no"

    grown = before.resident + max(GROWTH_BYTES, int(before.resident * GROWTH_SHARE))
    return [
        row("sequences that nothing keeps", before_loaded.stray_sequences, loaded.stray_sequences, 0),
        row("KV cells that nothing keeps", before_loaded.cells, loaded.cells, 0),
        row("requests", before_loaded.requests, loaded.requests, 0),
        row("seats and leases", before_loaded.seats, loaded.seats, 0),
        row("tasks", before.tasks, freed.tasks, before.tasks),
        row("threads", before.threads, freed.threads, before.threads + POOLED),
        row("child processes", before.processes, freed.processes, before.processes + POOLED),
        row("file descriptors", before.files, freed.files, before.files + 4 * POOLED),
        row("temporary files", before.temporary, freed.temporary, before.temporary),
        ("resident MB", before.resident / 1e6, freed.resident / 1e6, "yes" if freed.resident > grown else "no"),
        ("requests that came to their end", before.processed, freed.processed, ""),
    ]
