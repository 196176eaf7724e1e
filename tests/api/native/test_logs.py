"""GET /v1/logs: what was said of the models, and what is said while one listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.native import logs as logs_route
from core.telemetry.log import get_logger
from tests.api.conftest import PATIENCE, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVENTS = {"accept": "text/event-stream"}
log = get_logger("core.test")


async def follow(served: Served, path: str) -> AsyncIterator[dict[str, object]]:
    async with served.http.stream("GET", path, headers=EVENTS) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def test_the_lines_of_one_model_or_of_all_are_told_without_folders(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        log.warning("read", model="echo", path=str(tmp_path / "echo.bin"))
        log.warning("of another", model="other")
        lines = (await served.http.get("/v1/logs", params={"model": "echo"})).json()["lines"]
        assert lines[-1]["text"] == "read path=echo.bin"
        assert {line["model"] for line in lines} == {"echo"}
        everything = (await served.http.get("/v1/logs")).json()["lines"]
        assert everything[-1]["text"] == "of another"
        assert [line["time"] for line in everything] == sorted(line["time"] for line in everything)


async def test_a_model_of_which_nothing_was_said_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert (await served.http.get("/v1/logs", params={"model": "nobody"})).status_code == 404
        assert (await served.http.get("/v1/logs", params={"model": "nobody"}, headers=EVENTS)).status_code == 404


async def test_lines_come_as_they_are_written_after_those_that_are_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        log.warning("before", model="echo")
        events = follow(served, "/v1/logs?model=echo")
        told = []
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                told.append(event["text"])
                if event["text"] == "before":
                    log.warning("of another", model="other")
                    await asyncio.to_thread(log.warning, "after", model="echo")
                if event["text"] == "after":
                    break
        assert told[-2:] == ["before", "after"]


async def test_a_server_that_stops_waits_for_nobody_who_follows(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        log.warning("before", model="echo")
        events = follow(served, "/v1/logs?model=echo")
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                if event["text"] == "before":
                    stopping = asyncio.create_task(served.server.stop(drain=3600))
            await stopping


async def test_a_follower_that_reads_too_slowly_is_told_how_much_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_route, "MOST_UNREAD_LINES", 3)
    async with serving(tmp_path) as served:
        log.warning("before", model="echo")
        told: list[dict[str, object]] = []
        async with asyncio.timeout(PATIENCE):
            async for event in follow(served, "/v1/logs?model=echo"):
                told.append(event)
                if event.get("text") == "before":
                    for number in range(10):
                        log.warning("line", number=number, model="echo")
                if event.get("text") == "line number=9":
                    break
    assert told[-4:-3] == [{"lost": 7}]
    assert [event["text"] for event in told[-3:]] == ["line number=7", "line number=8", "line number=9"]


async def test_only_so_many_may_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_route, "MOST_FOLLOWERS", 0)
    async with serving(tmp_path) as served:
        response = await served.http.get("/v1/logs", headers=EVENTS)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
