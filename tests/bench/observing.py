"""What it costs to be watched: tokens a second of 32 echo streams over HTTP, by who watches, against nobody.

One server is watched and one is not; rounds take turns, so that what else the machine does falls on both. Rates of two
processes on two cores differ by far more than watching costs, so a second table adds up what is done for a request.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from api.server import HttpServer
from core.events import FinishReason, Timings, Usage
from core.observing.exposition import read_process, render_metrics
from core.observing.meter import Meter
from core.observing.otlp.facts import extract_facts
from core.observing.otlp.wire import OtlpWriter
from core.observing.recent import RecentRequests
from core.observing.tally import MetricReading
from core.requests import Generation, RawText
from core.serving.report import RequestReport
from core.settings.model import ModelSettings
from core.settings.schema import Folders, QueueSettings, ServerSettings, Settings
from core.settings.telemetry import TelemetrySettings
from core.snapshots import Cause, ModelKind, RequestRow, RequestState, Reuse, Tier
from core.workbench import Workbench
from tests.bench.report import table
from tests.bench.streaming import stream_answers
from tests.bench.watchers import run_watcher

STREAMS = 32
TOKENS = 1000
"""Of each stream."""
ROUNDS = 7
USUAL_SECONDS = "1"
"""Between two pages; scrapers ask every 15 as a rule."""
HASTY_SECONDS = "0.01"


async def run() -> Iterator[str]:
    """The tables."""
    return iter((await run_streams(), run_costs()))


async def run_streams() -> str:
    rows = []
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = f"http://127.0.0.1:{await stack.enter_async_context(run_watcher('collect'))}"
        plain = await stack.enter_async_context(_serve(home / "plain", TelemetrySettings(), watched=False))
        metered = await stack.enter_async_context(_serve(home / "metered", TelemetrySettings()))
        told = await stack.enter_async_context(_serve(home / "told", TelemetrySettings(url=collector)))
        await _compare(plain, plain, ())
        for words, server, scrapers in (
            ("nobody, once more", plain, ()),
            ("requests counted", metered, ()),
            ("and scraped every second", metered, (USUAL_SECONDS,)),
            ("and a collector told", told, (USUAL_SECONDS,)),
            ("and scraped every 10 ms", told, (HASTY_SECONDS,)),
        ):
            rows.append((words, *await _compare(plain, server, scrapers)))
    head = ("watched by", "not watched, tokens/s", "watched, tokens/s", "ratio", "of rounds", "processor time, ratio")
    return table(f"What watching costs, echo engine, {STREAMS} streams of {TOKENS} tokens", head, rows)


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
    rows = [
        ("counting a request, on the event loop", _time(lambda: meter.note_end(report), 20_000)),
        ("keeping its times, on the event loop", _time(lambda: recent.note_end(report), 20_000)),
        ("what a collector is told of it, on the event loop", _time(lambda: extract_facts(report, "echo"), 20_000)),
        ("its span, on a thread", _time(lambda: writer.write_spans([facts] * 512), 20) / 512),
        ("a page for Prometheus, on a thread, once a second", _time(lambda: _write_page(readings), 50)),
    ]
    return table("What is done for a request that is watched", ("", "µs"), rows)


def _time(act: Callable[[], object], times: int) -> float:
    """Microseconds of processor time."""
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) * 1e6 / times


def _write_page(readings: Iterable[MetricReading]) -> None:
    render_metrics((*readings, *read_process()), openmetrics=False)


class Round(NamedTuple):
    rate: float
    """Tokens a second."""
    cost: float
    """Microseconds of processor time that the servers' process took for a token."""


async def _compare(plain: str, watched: str, scrapers: Sequence[str]) -> tuple[float, float, float, str, float]:
    """Medians of both rates, of the rounds' ratios with their range, and of the ratios of processor time."""
    without: list[Round] = []
    within: list[Round] = []
    for number in range(ROUNDS):
        for is_watched in (True, False) if number % 2 else (False, True):
            async with AsyncExitStack() as stack:
                for seconds in scrapers if is_watched else ():
                    await stack.enter_async_context(run_watcher("scrape", f"{watched}/metrics", seconds))
                began = time.process_time()
                port = int((watched if is_watched else plain).rpartition(":")[2])
                rate = (await stream_answers(port, "echo", STREAMS, TOKENS)).rate
                cost = (time.process_time() - began) * 1e6 / (STREAMS * TOKENS)
            (within if is_watched else without).append(Round(rate, cost))
    pairs = [*zip(within, without, strict=True)]
    ratios = sorted(one.rate / other.rate for one, other in pairs)
    return (
        median(each.rate for each in without),
        median(each.rate for each in within),
        median(ratios),
        f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
        median(one.cost / other.cost for one, other in pairs),
    )


@asynccontextmanager
async def _serve(home: Path, telemetry: TelemetrySettings, *, watched: bool = True) -> AsyncIterator[str]:
    """The address of a server."""
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=0),
        # A guess that comes true would make one event of several tokens.
        model=ModelSettings(ctx_size=16_384, slots=STREAMS, draft="none"),
        telemetry=telemetry,
    )
    workbench = Workbench(settings, Folders(home, home, home))
    if not watched:
        workbench.requests._reports._observers.clear()
    await workbench.models.load("echo")
    server = HttpServer(workbench, settings)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
        await workbench.close()
