"""What it costs to be observed: processor time of a server for the same tokens, with all that observes against nothing.

Echo servers in processes of their own, each observed by more than the one before, are asked for the same streams in
turns. Rates of processes that share two cores differ by far more than observing costs, so processor time is compared:
in long answers for a token, in short ones for a request. A round of a server goes on until its next one begins, so what
is written behind the last answer is part of it. A last table adds up what is done for a request.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from core.capture.exchange import CapturedRequest
from core.capture.ring import CaptureRing
from core.events import FinishReason, Timings, Usage
from core.observing.exposition import read_process, render_metrics
from core.observing.meter import Meter
from core.observing.otlp.facts import extract_facts
from core.observing.otlp.wire import OtlpWriter
from core.observing.recent import RecentRequests
from core.observing.tally import MetricReading
from core.requests import Generation, RawText
from core.reuse import Cause, Reuse, Tier
from core.serving.report import RequestReport
from core.serving.usage_ledger import UsageLedger
from core.settings.capture import CaptureSettings
from core.settings.schema import Folders
from core.snapshots import ModelKind, RequestRow, RequestState
from core.usage import UsageAccount
from tests.bench.observed_server import SLOTS, ObservedServer, Observing, run_observed
from tests.bench.report import table
from tests.bench.streaming import stream_answers
from tests.bench.watchers import run_watcher

TOKENS: Final = 1000
"""Of each of so many streams as there are slots."""
SHORT_STREAMS: Final = 512
SHORT_TOKENS: Final = 8
ROUNDS: Final = 5
SCRAPE_SECONDS: Final = "1"
"""Between two pages, while a server has its turn; scrapers ask every 15 as a rule."""
SETTLE_SECONDS: Final = 3.0
"""In which all that was put aside is written and told."""

NOTHING: Final = Observing("nothing", counted=False)
ALL: Final = Observing("and captured: all of it", ledger=True, traced=True, captured=True)
STEPS: Final = (
    NOTHING,
    Observing("nothing, another server", counted=False),
    Observing("counted, scraped every second"),
    Observing("and the ledger", ledger=True),
    Observing("and a collector told", ledger=True, traced=True),
    ALL,
)


class Load(Struct, frozen=True):
    """What clients ask."""

    title: str
    streams: int
    tokens: int
    parts: int
    """That the processor time is told for one of."""


LOADS: Final = (
    Load(f"a token of {SLOTS} streams, {TOKENS:,} tokens each", SLOTS, TOKENS, SLOTS * TOKENS),
    Load(f"a request of {SHORT_STREAMS}, {SHORT_TOKENS} tokens each", SHORT_STREAMS, SHORT_TOKENS, SHORT_STREAMS),
)
HEAD: Final = ("observed by", "µs of the processor", "more than nothing, µs", "half of the rounds", "ratio")


class Comparison(NamedTuple):
    """What a server takes, and what it takes more than another one: microseconds, of all rounds together, with the
    quartiles of the rounds."""

    cost: float
    more: float
    lower: float
    upper: float

    @property
    def ratio(self) -> float:
        return self.cost / (self.cost - self.more)


async def run() -> Iterator[str]:
    """The tables."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = f"http://127.0.0.1:{await stack.enter_async_context(run_watcher('collect'))}"
        servers = [
            await stack.enter_async_context(run_observed(home / str(number), step, collector))
            for number, step in enumerate(STEPS)
        ]
        tables = [await _run_load(servers, load) for load in LOADS]
    return iter((*tables, run_costs()))


async def _run_load(servers: Sequence[ObservedServer], load: Load) -> str:
    spent: list[list[float]] = [[] for _ in servers]
    for number in range(-1, ROUNDS):
        # Each goes first once; the round before the first one warms them.
        first = number % len(servers)
        for place in (*range(first, len(servers)), *range(first)):
            spent[place].append(await servers[place].read_cpu_seconds())
            await _ask(servers[place], STEPS[place], load)
    await asyncio.sleep(SETTLE_SECONDS)
    for each, server in zip(spent, servers, strict=True):
        each.append(await server.read_cpu_seconds())
    costs = [_list_costs(each[1:], load.parts) for each in spent]
    found = [compare_costs(costs[0], each) for each in costs]
    rows = [
        (step.words, each.cost, each.more, f"{each.lower:.3g} to {each.upper:.3g}", f"{each.ratio:.4f}")
        for step, each in zip(STEPS, found, strict=True)
    ]
    return table(f"Observing, echo engine: {load.title}, {ROUNDS} rounds", HEAD, rows)


async def _ask(server: ObservedServer, step: Observing, load: Load) -> None:
    async with AsyncExitStack() as stack:
        if step.counted:
            url = f"http://127.0.0.1:{server.port}/metrics"
            await stack.enter_async_context(run_watcher("scrape", url, SCRAPE_SECONDS))
        await stream_answers(server.port, "echo", load.streams, load.tokens)


def _list_costs(readings: Sequence[float], parts: int) -> list[float]:
    """Microseconds for a part of each round, of processor time as it stood at their beginnings and at the end."""
    return [(after - before) * 1e6 / parts for before, after in pairwise(readings)]


def compare_costs(plain: Sequence[float], observed: Sequence[float]) -> Comparison:
    """Of rounds that belong together."""
    more = sorted(one - other for one, other in zip(observed, plain, strict=True))
    cost = sum(observed) / len(observed)
    quarter = len(more) // 4
    return Comparison(cost, cost - sum(plain) / len(plain), more[quarter], more[-1 - quarter])


def run_costs() -> str:
    """Processor time of what is done for one request, and for one page."""
    row = RequestRow(
        "id", "echo", RequestState.DECODE, 100, 50, reuse=Reuse(50, Tier.RESIDENT, Cause.FIRST_SEEN, "", 50)
    )
    request = Generation("echo", RawText("hello"), max_tokens=TOKENS)
    report = RequestReport(
        *("id", "echo", ModelKind.CHAT, request.caller, request, time.time(), 1.0, 0.1, 0.2),
        usage=Usage(100, 50, TOKENS),
        timings=Timings(0.1, 0.1, 0.5),
        reasons=(FinishReason.STOP,),
        row=row,
    )
    meter, recent = Meter({"echo": "echo"}.get), RecentRequests()
    facts, writer = extract_facts(report, "echo"), OtlpWriter("0", "bench", time.time())
    meter.note_end(report)
    readings = tuple(meter.read_counts())
    with tempfile.TemporaryDirectory() as home:
        ledger = _time_ledger(report, Path(home))
        capturing = _time_capture(Path(home))
    rows = [
        ("counting a request, on the event loop", _time(lambda: meter.note_end(report), 20_000)),
        ("keeping its times, on the event loop", _time(lambda: recent.note_end(report), 20_000)),
        ("what a collector is told of it, on the event loop", _time(lambda: extract_facts(report, "echo"), 20_000)),
        ("its line of the ledger, on the event loop and on a thread", ledger),
        ("keeping 4 kB of it and 250 kB of its reply, on a thread", capturing),
        ("its span, on a thread", _time(lambda: writer.write_spans([facts] * 512), 20) / 512),
        ("a page for Prometheus, on a thread, once a second", _time(lambda: _write_page(readings), 50)),
    ]
    return table("What is done for a request", ("", "µs"), rows)


def _time_ledger(report: RequestReport, home: Path) -> float:
    account = UsageAccount(home)
    ledger = UsageLedger(account)

    def note() -> None:
        for _ in range(500):
            ledger.note_end(report)
        account.read()

    spent = _time(note, 4) / 500
    account.close()
    return spent


def _time_capture(home: Path) -> float:
    """An answer of 1,000 tokens is 250 kB of events."""
    ring = CaptureRing(Folders(home, home, home), CaptureSettings(requests=100))
    body, reply = b"a" * 4_000, b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n' * 4_000
    exchange = CapturedRequest(
        *("id", time.time(), 1.0, "POST", "/v1/chat/completions", body, reply, 200),
        body_bytes=len(body),
        reply_bytes=len(reply),
    )

    def keep() -> None:
        for _ in range(20):
            ring.add(exchange)
        ring.list_lines(1)

    spent = _time(keep, 4) / 20
    ring.close()
    return spent


def _time(act: Callable[[], object], times: int) -> float:
    """Microseconds of processor time."""
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) * 1e6 / times


def _write_page(readings: Iterable[MetricReading]) -> None:
    render_metrics((*readings, *read_process()), openmetrics=False)
