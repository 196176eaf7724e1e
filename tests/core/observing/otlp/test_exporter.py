"""What a collector is told of requests, and what it can do to them: nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.engines.registry import ENGINES, Engines
from core.errors import ModelNotFound
from core.observing.otlp import exporter as exporters
from core.observing.otlp.exporter import ExportPace, TelemetryExporter
from core.requests import SamplingWish
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.settings.telemetry import TelemetrySettings
from core.telemetry.origin import RequestOrigin, TraceParent, request_origin
from core.workbench import Workbench
from tests.fakes.collector import Collector, read_attributes, run_collector
from tests.fakes.support import asks, folders_in

PATIENCE = 20.0
FAST = ExportPace(spans=0.01, metrics=0.01, first_pause=0.01, longest_pause=0.05)
SECRET = "xyzzy plugh quux"


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


def settings_for(url: str | None, key: str | None = None) -> Settings:
    return Settings(
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
        telemetry=TelemetrySettings(url=url, key=key),
    )


@asynccontextmanager
async def observed(path: Path, url: str, key: str | None = None) -> AsyncIterator[tuple[Workbench, TelemetryExporter]]:
    """A workbench with an echo model, and what tells the collector at `url` of it without delay."""
    workbench = Workbench(settings_for(None), folders_in(path), Engines({"echo": ENGINES["echo"]}))
    headers = TelemetrySettings(key=key).headers
    exporter = TelemetryExporter(url, headers, workbench.models.find_served, FAST)
    workbench.requests.observe(exporter)
    await workbench.models.load("echo")
    try:
        yield workbench, exporter
    finally:
        await workbench.close()
        await asyncio.to_thread(exporter.close)


async def ask(workbench: Workbench, text: str = SECRET, **fields: object) -> None:
    await (await workbench.requests.submit(asks(text, "echo", **fields))).reply()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with run_collector() as running:
        yield running


async def test_a_request_is_a_span_with_the_names_of_the_conventions(tmp_path: Path, collector: Collector) -> None:
    async with observed(tmp_path, collector.url, "a key") as (workbench, _):
        request_origin.set(RequestOrigin("/v1/chat/completions"))
        await ask(workbench, max_tokens=3, request_id="one", sampling=SamplingWish(temperature=0.5, seed=2**70))
        await until(lambda: collector.spans)
    (span,) = collector.spans
    told = read_attributes(span.attributes)
    assert span.name == "chat echo"
    assert span.kind == span.SPAN_KIND_SERVER
    assert (len(span.trace_id), len(span.span_id), span.parent_span_id) == (16, 8, b"")
    assert [event.name for event in span.events] == ["benchtop.admitted", "benchtop.first_token"]
    moments = [span.start_time_unix_nano, *(event.time_unix_nano for event in span.events), span.end_time_unix_nano]
    assert moments == sorted(moments)
    assert {name: told[name] for name in told if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "benchtop",
        "gen_ai.request.model": "echo",
        "gen_ai.response.model": "echo",
        "gen_ai.response.id": "one",
        "gen_ai.response.finish_reasons": ("length",),
        "gen_ai.usage.input_tokens": told["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.request.max_tokens": 3,
        "gen_ai.request.temperature": 0.5,
    }
    assert told["http.route"] == "/v1/chat/completions"
    assert set(collector.keys) == {"Bearer a key"}
    assert collector.resource["service.name"] == "benchtop"


async def test_no_word_of_prompt_or_answer_is_told(tmp_path: Path, collector: Collector) -> None:
    async with observed(tmp_path, collector.url) as (workbench, _):
        await ask(workbench)
        await ask(workbench, stop=(SECRET[-3:],))
        await until(lambda: len(collector.spans) == 2 and collector.metrics)
    told = str(collector.spans) + str(collector.metrics)
    assert not any(word in told for word in SECRET.split())


async def test_a_client_s_span_is_the_parent_and_one_that_is_not_kept_wants_none(
    tmp_path: Path, collector: Collector
) -> None:
    async with observed(tmp_path, collector.url) as (workbench, _):
        for number, sampled in ((1, False), (2, True)):
            parent = TraceParent(bytes([number]) * 16, bytes([number]) * 8, sampled)
            request_origin.set(RequestOrigin("/v1/messages", parent))
            await ask(workbench)
        await until(lambda: collector.spans)
    (span,) = collector.spans
    assert (span.trace_id, span.parent_span_id) == (b"\2" * 16, b"\2" * 8)
    duration = collector.metrics["gen_ai.server.request.duration"].histogram.data_points
    assert sum(point.count for point in duration) == 2


async def test_metrics_are_histograms_since_the_start(tmp_path: Path, collector: Collector) -> None:
    names = ("request.duration", "time_to_first_token", "time_per_output_token")

    def counts() -> list[int]:
        told = [collector.metrics.get(f"gen_ai.server.{name}") for name in names]
        return [sum(point.count for point in each.histogram.data_points) if each else 0 for each in told]

    async with observed(tmp_path, collector.url) as (workbench, _):
        for number in (1, 2):
            await ask(workbench)
            await until(lambda: counts() == [number] * 3)  # noqa: B023 - awaited within the round
        usage = collector.metrics["gen_ai.client.token.usage"].histogram.data_points
    kinds = {read_attributes(point.attributes)["gen_ai.token.type"]: point.count for point in usage}
    assert kinds == {"input": 2, "output": 2}
    for point in usage:
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1


async def test_a_request_that_fails_is_a_span_that_failed(tmp_path: Path, collector: Collector) -> None:
    async with observed(tmp_path, collector.url) as (workbench, _):
        with pytest.raises(ModelNotFound):
            await workbench.requests.submit(asks("hello", "m" * 100_000))
        await until(lambda: collector.spans)
    (span,) = collector.spans
    told = read_attributes(span.attributes)
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert told["error.type"] == "not_found"
    assert told["gen_ai.response.model"] == "other"
    assert len(span.name) < 200


async def test_a_collector_that_hangs_costs_no_request_and_what_waits_is_bounded(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporters, "MOST_WAITING_REQUESTS", 2)
    collector.going_on.clear()
    async with observed(tmp_path, collector.url) as (workbench, exporter):
        await ask(workbench)
        await until(collector.asked.is_set)
        for _ in range(5):
            await ask(workbench)
        assert exporter.dropped == 3
        told = [record for record in caplog.records if "collector lags" in record.getMessage()]
        assert len(told) == 1
        collector.going_on.set()
        await until(lambda: len(collector.spans) == 3)


async def test_a_collector_that_hangs_does_not_keep_the_workbench_from_ending(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporters, "CLOSE_SECONDS", 0.05)
    collector.going_on.clear()
    async with observed(tmp_path, collector.url) as (workbench, exporter):
        await ask(workbench)
        await until(collector.asked.is_set)
    assert exporter._thread is not None
    assert exporter._thread.daemon
    assert exporter._thread.is_alive()
    collector.going_on.set()


@pytest.mark.parametrize("status", [429, 503])
async def test_what_a_busy_collector_did_not_take_is_told_again(
    tmp_path: Path, collector: Collector, status: int
) -> None:
    collector.status = status
    async with observed(tmp_path, collector.url) as (workbench, exporter):
        await ask(workbench)
        await until(lambda: collector.messages >= 3)
        assert not collector.spans
        collector.status = 200
        await until(lambda: collector.spans)
        assert (len(collector.spans), exporter.dropped) == (1, 0)


async def test_what_a_collector_refuses_is_dropped_and_counted(tmp_path: Path, collector: Collector) -> None:
    collector.status = 401
    async with observed(tmp_path, collector.url) as (workbench, exporter):
        await ask(workbench)
        await until(lambda: exporter.dropped == 1)
        collector.status = 200
        await ask(workbench)
        await until(lambda: collector.spans)
        assert len(collector.spans) == 1


async def test_where_no_collector_listens_requests_are_answered_all_the_same(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with observed(tmp_path, f"http://127.0.0.1:{port}") as (workbench, exporter):
        await ask(workbench)
        await until(lambda: exporter._troubled)
        await ask(workbench)


async def test_the_last_requests_are_told_when_the_workbench_closes(tmp_path: Path, collector: Collector) -> None:
    workbench = Workbench(settings_for(collector.url, "x-key: one"), folders_in(tmp_path))
    await workbench.models.load("echo")
    await ask(workbench)
    await workbench.close()
    assert len(collector.spans) == 1
    assert "gen_ai.server.request.duration" in collector.metrics


def test_without_a_collector_nothing_of_it_is_there(tmp_path: Path) -> None:
    assert Workbench(settings_for(None), folders_in(tmp_path)).telemetry is None
