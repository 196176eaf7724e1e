"""What loop and server cost a token: with the echo engine, which itself costs next to nothing, and with the built-in
model beside llama.cpp's own server, where LLAMA_SERVER names its binary.

Server and client are processes of their own. What a token takes of the processor is what the server's process takes
while the client's streams run, their prompts included, divided by the tokens.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

from core.guide import WEIGHTS
from core.requests import Generation, RawText
from core.settings.model import ModelSettings
from core.settings.schema import Folders, QueueSettings, Settings
from core.workbench import Workbench
from tests.bench.client import ASKINGS
from tests.bench.peer import serve_peer
from tests.bench.report import table
from tests.bench.served import ServedProcess, serve_tui
from tests.bench.streaming import StreamFigures, stream_answers

STREAMS: Final = (1, 8, 32)
TOKENS: Final = 1000
"""Of each stream."""
MODEL_TOKENS: Final = 200
"""The same with a model."""
ROUNDS: Final = 3
SLOTS: Final = 32
CONTEXT: Final = 16_384
MODEL_CONTEXT: Final = 2048
# A guess that comes true would make one event of several tokens.
PLAIN: Final = ("--slots", str(SLOTS), "--draft", "none", "--max-queue", "0")
WANTED: Final = {"chat": 20_000, "messages": 10_000, "responses": 10_000}
"""Tokens a second and core."""
HEAD: Final = ("tokens/s", "tokens/s and core", "us of the processor a token", "pause p99, ms", "longest, ms")


class ServerFigures(Struct, frozen=True):
    """Some rounds of streams against one server."""

    seen: Sequence[StreamFigures]
    spent: Sequence[float]
    """Seconds of the server's processor a token, of each round."""

    def list_cells(self) -> tuple[float, ...]:
        """As HEAD names them: medians, and the longest pause of all."""
        spent = median(self.spent)
        return (
            median(each.rate for each in self.seen),
            1 / spent,
            1e6 * spent,
            1e3 * median(each.pause for each in self.seen),
            1e3 * max(each.longest for each in self.seen),
        )


def run() -> Iterator[str]:
    """The tables, in Markdown."""
    with tempfile.TemporaryDirectory() as home:
        for measure in (_measure_echo, _measure_beside_peer, _measure_loop):
            yield asyncio.run(measure(Path(home)))


async def _measure_loop(home: Path) -> str:
    settings = Settings(
        queue=QueueSettings(max_queue=0), model=ModelSettings(ctx_size=CONTEXT, slots=SLOTS, draft="none")
    )
    workbench = Workbench(settings, Folders(home, home, home))
    await workbench.models.load("echo")
    rows = [(streams, median([await _run_loop(workbench, streams) for _ in range(ROUNDS)])) for streams in STREAMS]
    await workbench.close()
    return table("The loop alone, echo engine, no HTTP", ("streams", "us a token"), rows)


async def _run_loop(workbench: Workbench, streams: int) -> float:
    """Microseconds a token, from submitting to the last event."""

    async def one(number: int) -> None:
        request = Generation(model="echo", prompt=RawText(f"{number}"), max_tokens=TOKENS, ignore_eos=True)
        async for _ in await workbench.requests.submit(request):
            pass

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(streams)))
    return (time.perf_counter() - began) * 1e6 / (TOKENS * streams)


async def _measure_echo(home: Path) -> str:
    rows = []
    with serve_tui(home, "echo", "--ctx-size", str(CONTEXT), *PLAIN) as served:
        for streams in STREAMS:
            for dialect in ASKINGS:
                found = await _measure(served, streams, TOKENS, dialect)
                rows.append((streams, dialect, *found.list_cells(), WANTED[dialect]))
    title = f"Loop and HTTP, echo engine, {TOKENS:,} tokens a stream, {ROUNDS} rounds"
    return table(title, ("streams", "dialect", *HEAD, "wanted of a core"), rows)


async def _measure_beside_peer(home: Path) -> str:
    """One thread computes the model in both servers."""
    rows = []
    words = ("guide", "--engine", "llamacpp", "--ctx-size", str(MODEL_CONTEXT), "--threads", "1", *PLAIN)
    with (
        serve_tui(home, *words, "--batch-threads", "1", "--no-extra-buffers") as ours,
        serve_peer(WEIGHTS, 1, context=MODEL_CONTEXT, slots=SLOTS, extra_buffers=False) as peer,
    ):
        for streams in (1, SLOTS):
            for dialect in ASKINGS:
                found = await _measure(ours, streams, MODEL_TOKENS, dialect)
                rows.append((streams, dialect, "ours", *found.list_cells()))
                if peer is not None and (other := await _measure_peer(peer, streams, dialect)) is not None:
                    rows.append((streams, dialect, "llama-server", *other.list_cells()))
    title = f"The built-in model, {MODEL_TOKENS} tokens a stream, one thread, the model's own work included"
    return table(title, ("streams", "dialect", "server", *HEAD), rows)


async def _measure_peer(peer: ServedProcess, streams: int, dialect: str) -> ServerFigures | None:
    """None where it does not know the dialect."""
    try:
        return await _measure(peer, streams, MODEL_TOKENS, dialect)
    except RuntimeError as error:
        print(f"llama-server, {dialect}: {error}")
        return None


async def _measure(served: ServedProcess, streams: int, tokens: int, dialect: str) -> ServerFigures:
    seen: list[StreamFigures] = []
    spent: list[float] = []
    for _ in range(ROUNDS):
        began = served.read_cpu_seconds()
        seen.append(await stream_answers(served.port, served.model, streams, tokens, dialect))
        # Some servers end an answer earlier than they are asked to.
        spent.append((served.read_cpu_seconds() - began) / (streams + seen[-1].tokens))
    return ServerFigures(seen, spent)
