"""What the measurement of observing compares is what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.bench.observed_server import Observing, serve_observed
from tests.bench.observing import ALL, NOTHING, compare_costs
from tests.fakes.collector import run_collector


async def count_observed(folder: Path, observing: Observing) -> tuple[int, int, int, int]:
    """Of one request: what metrics, the ledger, the collector and the ring have of it."""
    with run_collector() as collector:
        async with serve_observed(folder, observing, collector.url) as (workbench, url), httpx.AsyncClient() as client:
            body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
            (await client.post(f"{url}/v1/chat/completions", json=body)).raise_for_status()
            page = (await client.get(f"{url}/metrics")).text
            counted = page.count("benchtop_requests_total{")
            rows = await asyncio.to_thread(workbench.usage.account.read) if workbench.usage is not None else []
            captured = await asyncio.to_thread(workbench.captures.list_lines)
        return counted, len(rows), len(collector.spans), len(captured)


async def test_all_that_observes_is_on_in_one_server_and_off_in_the_other(tmp_path: Path) -> None:
    assert await count_observed(tmp_path / "all", ALL) == (1, 1, 1, 1)
    assert await count_observed(tmp_path / "nothing", NOTHING) == (0, 0, 0, 0)


def test_what_is_more_is_told_of_all_rounds_with_the_quartiles_of_their_pairs() -> None:
    found = compare_costs([100.0, 200.0, 100.0, 100.0], [101.0, 204.0, 102.0, 90.0])
    assert (found.cost, found.more, found.lower, found.upper) == (124.25, -0.75, 1.0, 2.0)
    assert found.ratio == pytest.approx(124.25 / 125)
