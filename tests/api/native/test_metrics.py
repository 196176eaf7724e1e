"""GET /metrics, read with prometheus_client's own parsers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from api.native.metrics import MetricsPage
from core.observing.catalog import METRICS
from core.settings.schema import ServerSettings, Settings
from core.settings.telemetry import TelemetrySettings
from tests.api.conftest import ENDLESS, Served, chat_body, serving, settings_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "a key of this test"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read_samples(page: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in read_text(page)
        for sample in family.samples
    }


def find_value(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all series that have these labels."""
    wanted = set(labels.items())
    return sum(value for (called, has), value in samples.items() if called == name and wanted <= has)


def _name_families(page: str) -> set[str]:
    return {family.name for family in read_openmetrics(page)}  # type: ignore[no-untyped-call]


async def scrape(served: Served) -> Samples:
    """A page of this moment."""
    page = MetricsPage(served.workbench, "test", fresh=0)
    body, _ = await page.read(openmetrics=False)
    return read_samples(body.decode())


async def test_all_metrics_stand_on_the_page_in_both_formats(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.complete()
        plain = await served.http.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {family.name for family in read_text(plain.text)}
        assert {metric.name.removesuffix("_total") for metric in METRICS} <= families
        accept = {"accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
        modern = await served.http.get("/metrics", headers=accept)
        assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert _name_families(modern.text) >= families - {"process_open_fds"}
        assert (await served.http.head("/metrics")).content == b""


async def test_an_answered_request_is_counted_with_its_tokens_and_times(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        usage = (await served.chat(max_tokens=4)).json()["usage"]
        samples = await scrape(served)
        endpoint = "/v1/chat/completions"
        assert find_value(samples, "benchtop_requests_total", model="echo", endpoint=endpoint, outcome="ok") == 1
        assert find_value(samples, "benchtop_tokens_total", kind="prompt") == usage["prompt_tokens"]
        assert find_value(samples, "benchtop_tokens_total", kind="completion") == 4
        assert find_value(samples, "benchtop_finished_choices_total", reason="length") == 1
        for name in ("request_duration", "time_to_first_token", "time_per_output_token", "queue_wait"):
            assert find_value(samples, f"benchtop_{name}_seconds_count", model="echo") == 1
            assert find_value(samples, f"benchtop_{name}_seconds_bucket", model="echo", le="+Inf") == 1
        assert find_value(samples, "benchtop_http_responses_total", endpoint=endpoint, status="200") == 1
        assert find_value(samples, "benchtop_model_state", model="echo", state="ready") == 1
        assert find_value(samples, "benchtop_slots", model="echo") > 0
        assert find_value(samples, "benchtop_model_loads_total", model="echo") == 1


async def test_a_prompt_that_begins_as_another_is_counted_by_the_tier_that_had_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for _ in range(2):
            await served.complete()
        samples = await scrape(served)
        assert find_value(samples, "benchtop_cache_hits_total", model="echo", tier="resident") == 1
        assert find_value(samples, "benchtop_cache_reused_tokens_total", tier="resident") > 0
        assert find_value(samples, "benchtop_cache_lost_tokens_total", cause="first_seen") > 0
        assert find_value(samples, "benchtop_cache_entries", tier="resident") > 0


async def test_counters_do_not_go_back_when_a_model_is_unloaded_and_loaded_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.complete()
        before = await scrape(served)
        await served.workbench.models.unload("echo")
        between = await scrape(served)
        await served.complete()
        after = await scrape(served)
    counters = [key for key in before if key[0].endswith(("_total", "_bucket", "_count", "_sum"))]
    assert all(between.get(key, -1) >= before[key] and after.get(key, -1) >= between[key] for key in counters)
    assert find_value(after, "benchtop_model_loads_total", model="echo") == 2
    assert find_value(after, "benchtop_model_unloads_total", model="echo", cause="asked") == 1
    assert find_value(after, "benchtop_requests_total", model="echo", outcome="ok") == 2


async def test_names_that_clients_invent_make_no_series(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for number in range(20):
            assert (await served.chat(model=f"invented-{number}")).status_code == 404
            assert (await served.http.get(f"/v1/nothing/{number}")).status_code == 404
        await served.chat(model="x" * 1000)
        await served.http.post(f"{served.server.url}//v1/chat/completions//", json=chat_body())
        samples = await scrape(served)
    assert find_value(samples, "benchtop_requests_total", model="other", outcome="not_found") == 21
    assert find_value(samples, "benchtop_http_responses_total", endpoint="other", status="404") == 20
    assert {has for name, has in samples if name == "benchtop_requests_total"} == {
        frozenset({("model", model), ("endpoint", "/v1/chat/completions"), ("outcome", outcome)})
        for model, outcome in (("other", "not_found"), ("echo", "ok"))
    }


async def test_a_request_that_was_broken_off_is_counted_as_cancelled(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        task = asyncio.create_task(served.chat(ignore_eos=True))

        async def slot_taken() -> bool:
            return find_value(await scrape(served), "benchtop_slots_used", model="echo") == 1

        await until(slot_taken)
        task.cancel()

        async def cancelled() -> bool:
            return find_value(await scrape(served), "benchtop_requests_total", outcome="cancelled") == 1

        await until(cancelled)
        assert find_value(await scrape(served), "benchtop_request_duration_seconds_count") == 0


async def test_scrapers_that_ask_at_once_or_soon_again_share_one_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        page = MetricsPage(served.workbench, "test", fresh=3600)
        pages = await asyncio.gather(*(page.read(openmetrics=False) for _ in range(50)))
        await served.complete()
        assert {id(each) for each in (*pages, await page.read(openmetrics=False))} == {id(pages[0])}


async def test_metrics_need_the_key_unless_they_are_open(tmp_path: Path) -> None:
    settings = settings_of(ServerSettings(port=0, api_keys=(KEY,)))
    async with serving(tmp_path / "closed", settings) as served:
        assert (await served.http.get("/metrics")).status_code == 401
        assert (await served.http.get("/metrics", headers={"x-api-key": KEY})).status_code == 200
    opened = replace(settings, telemetry=TelemetrySettings(open_metrics=True))
    async with serving(tmp_path / "open", opened) as served:
        assert (await served.http.get("/metrics")).status_code == 200
        assert (await served.http.get("/v1/models")).status_code == 401


async def test_metrics_can_be_switched_off(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0), telemetry=TelemetrySettings(metrics=False))
    async with serving(tmp_path, settings) as served:
        response: httpx.Response = await served.http.get("/metrics")
        assert response.status_code == 404
