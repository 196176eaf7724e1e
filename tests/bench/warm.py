"""Time to first token of prompts that are known already, beside llama.cpp's own server.

A known beginning with another question behind it, and the very same prompt again. Both servers have one slot, the same
file and the same threads, and one client asks them in turn through HTTP.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from api.server import HttpServer
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.bench.asker import run_asker
from tests.bench.peer import serve_peer
from tests.bench.report import table
from tests.fakes.support import folders_in

CONTEXT = 2048
SHARED_WORDS = 680
"""Some 1,000 tokens with what the template adds."""
PAUSE_SECONDS = 0.05
"""Between requests, as between the end of an answer and the next question; both servers have done all by then."""


@asynccontextmanager
async def _ours(model: Path, threads: int) -> AsyncIterator[tuple[int, str]]:
    """Port and name of the model in our server."""
    settings = Settings(
        server=ServerSettings(port=0),
        model=ModelSettings(
            engine="llamacpp", ctx_size=CONTEXT, slots=1, threads=threads, batch_threads=threads, extra_buffers=False
        ),
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )
    with tempfile.TemporaryDirectory() as home:
        workbench = Workbench(settings, folders_in(Path(home)))
        server = HttpServer(workbench, settings)
        try:
            name = await workbench.models.load(str(model))
            await server.start()
            yield int(server.url.rpartition(":")[2].strip("/")), name
        finally:
            await server.stop()
            await workbench.close()


def _conversation(question: str) -> Sequence[Mapping[str, str]]:
    system = " ".join(f"number{index * 7 % 90}" if index % 4 == 0 else "a" for index in range(SHARED_WORDS))
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


async def run(model: Path, threads: int, rounds: int) -> str:
    """The table, in Markdown."""
    found: dict[tuple[str, str], list[float]] = {}
    reused: dict[tuple[str, str], int] = {}
    async with _ours(model, threads) as (port, name), run_asker() as asker:
        with serve_peer(model, threads, context=CONTEXT, slots=1, extra_buffers=False) as peer:
            servers = [("ours", port, name), *([("llama-server", peer.port, peer.model)] if peer is not None else [])]

            async def ask(what: str, question: str) -> None:
                for server, at, called in servers:
                    await asyncio.sleep(PAUSE_SECONDS)
                    seconds, cached = await asker.ask(at, called, _conversation(question))
                    found.setdefault((what, server), []).append(seconds)
                    reused[what, server] = cached

            await ask("cold", "What is the sum of all numbers that were named above?")
            for turn in range(rounds):
                question = f"Which number was named {turn + 3} times, and which one more often than that, if any was?"
                await ask("known beginning, another question", question)
                await ask("the same again", question)
    rows: list[tuple[object, ...]] = []
    for (what, server), times in found.items():
        of = median(times) / median(found[what, "llama-server"]) if peer is not None else None
        spread = f"{(max(times) - min(times)) / median(times):.0%}"
        rows.append((what, server, reused[what, server], median(times), spread, of))
    title = f"First token of a known prompt through HTTP: {model.stem}, {threads} thread(s), {rounds} rounds"
    return table(title, ("prompt", "server", "reused", "seconds", "spread", "of llama-server"), rows)
