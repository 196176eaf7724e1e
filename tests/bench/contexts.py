"""What long contexts cost outside the model: a token at 1,000, 8,000 and 32,000 tokens of context, in the loop and
through HTTP, with the echo engine; and a long prompt on its way into the loop, with a real vocabulary."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from api.server import HttpServer
from core.requests import Generation, RawText, Sampling
from core.settings.model import ModelSettings
from core.settings.schema import AnswerSettings, Folders, QueueSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.bench.decode import DecodeSetup, serve_model
from tests.bench.gap_client import StreamTimes, ask, stream, write_text
from tests.bench.report import table

CONTEXTS = (1_000, 8_000, 32_000)
"""Tokens of the prompt; the echo engine has one a byte."""
TOKENS = (200, 900)
"""Of the answers, which the shortest prompt has room for; what a token costs is what the longer one takes more, so that
what a request costs is left out."""
ROUNDS = 21
LONG_PROMPT_WORDS = (900, 17_700)
"""Which are some 1,000 and 20,000 tokens."""
CONTEXT_TOKENS = 24_576
"""In which the longer one fits."""
LEAVING_SECONDS = 4.0
"""Until a slot is surely free again: that a client has left may be seen only when a step has ended."""
TICK_SECONDS = 0.001


class EchoSetting(Struct, frozen=True):
    """What is switched on."""

    name: str
    draft: str = "none"
    stop: tuple[str, ...] = ()
    loop_guard: int = 0


SETTINGS = (
    EchoSetting("plain"),
    EchoSetting("a stop string", stop=("~~~",)),
    EchoSetting("loop guard", loop_guard=1024),
    EchoSetting("prompt lookup", draft="prompt-lookup"),
)


async def run_costs() -> str:
    """The table of a token's cost, in Markdown."""
    rows = []
    for setting in SETTINGS:
        async with _echoing(setting) as (workbench, port):
            loop = await measure_costs(partial(_in_loop, workbench, setting))
            http = await _measure_apart(port, setting)
        for way, costs in (("loop", loop), ("loop + HTTP", http)):
            rows.append((setting.name, way, *costs, costs[-1] / costs[0]))
    head = ("with", "way", *(f"{context:,} tokens, µs a token" for context in CONTEXTS), "32,000 of 1,000")
    return table("A token's cost outside the model, echo engine", head, rows)


@asynccontextmanager
async def _echoing(setting: EchoSetting) -> AsyncIterator[tuple[Workbench, int]]:
    """With the prefix cache on, as it is by default."""
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=0),
        model=ModelSettings(ctx_size=40_000, slots=2, draft=setting.draft),
        answers=AnswerSettings(loop_guard=setting.loop_guard),
    )
    with tempfile.TemporaryDirectory() as home:
        workbench = Workbench(settings, Folders(Path(home), Path(home), Path(home)))
        await workbench.models.load("echo")
        server = HttpServer(workbench, settings)
        await server.start()
        try:
            yield workbench, int(server.url.rpartition(":")[2].strip("/"))
        finally:
            await server.stop()
            await workbench.close()


async def measure_costs(ask_once: Callable[[int, int], Awaitable[None]]) -> list[float]:
    """Microseconds a token for each of CONTEXTS; `ask_once` takes the context and the tokens of the answer."""
    found: dict[int, list[float]] = {context: [] for context in CONTEXTS}
    for _ in range(ROUNDS):
        # All contexts in turn, so that a noisy machine disturbs all alike.
        for context in CONTEXTS:
            moments = [time.perf_counter()]
            for tokens in TOKENS:
                await ask_once(context, tokens)
                moments.append(time.perf_counter())
            short, long = moments[1] - moments[0], moments[2] - moments[1]
            found[context].append((long - short) * 1e6 / (TOKENS[1] - TOKENS[0]))
    return [median(found[context]) for context in CONTEXTS]


async def _in_loop(workbench: Workbench, setting: EchoSetting, context: int, tokens: int) -> None:
    request = Generation(
        model="echo",
        prompt=RawText(make_text(context)),
        sampling=Sampling(temperature=0.0),
        max_tokens=tokens,
        ignore_eos=True,
        stop=setting.stop,
    )
    await (await workbench.requests.submit(request)).reply()


async def _measure_apart(port: int, setting: EchoSetting) -> list[float]:
    """As `measure_costs`, through HTTP from a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.contexts", str(port), *setting.stop, stdout=subprocess.PIPE
    )
    output, _ = await child.communicate()
    return [float(cost) for cost in json.loads(output)]


@cache
def make_text(size: int) -> str:
    """So many letters, the same each time, of which hardly any four come twice."""
    letters = random.Random(size)
    return "".join(letters.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(size))


async def run_admission(setup: DecodeSetup) -> str:
    """The table of how long a prompt takes from its first byte until a slot is its own, in Markdown.

    Beside it how long the event loop was held: what ticks every millisecond came so much late at worst.
    """
    rows = []
    setup = replace(setup, context=CONTEXT_TOKENS)
    async with serve_model(setup, 2) as (_, name, port):
        for number, words in enumerate((*LONG_PROMPT_WORDS, *LONG_PROMPT_WORDS)):
            body = ask(name, write_text(words, number), 1, return_progress=True)
            ticking = asyncio.create_task(_tick())
            admitted = await _wait_for_progress(port, json.dumps(body).encode())
            ticking.cancel()
            late = await asyncio.gather(ticking)
            rows.append((admitted.tokens, 1000 * admitted.seconds, 1000 * late[0]))
    head = ("prompt, tokens", "to its slot, ms", "event loop held, ms at most")
    return table(f"A prompt on its way, {setup.path.name}", head, rows)


class AdmittedPrompt(Struct, frozen=True):
    tokens: int
    seconds: float


async def _wait_for_progress(port: int, data: bytes) -> AdmittedPrompt:
    """Send a request and leave at its first event, which tells that it was admitted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    seen = b""
    while b'"total":' not in seen:
        chunk = await reader.read(65_536)
        if not chunk:
            raise SystemExit(f"no progress was told: {seen[-500:]!r}")
        seen += chunk
    seconds = time.perf_counter() - began
    writer.close()
    await asyncio.sleep(LEAVING_SECONDS)
    return AdmittedPrompt(int(seen.partition(b'"total":')[2].split(b",")[0]), seconds)


async def _tick() -> float:
    """Seconds by which a tick came late at worst, until cancelled."""
    worst = 0.0
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            worst = max(worst, time.perf_counter() - began - TICK_SECONDS)
    except asyncio.CancelledError:
        return worst


async def _through_http(port: int, stop: list[str], context: int, tokens: int) -> None:
    body = ask("echo", make_text(context), tokens, stop=stop or None, cache_prompt=True)
    await stream("127.0.0.1", port, body, StreamTimes())


if __name__ == "__main__":
    port, *stop = sys.argv[1:]
    print(json.dumps(asyncio.run(measure_costs(partial(_through_http, int(port), stop)))))
