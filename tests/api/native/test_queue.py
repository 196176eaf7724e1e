"""A server with one slot and a short waiting room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from core.settings.schema import QueueSettings
from tests.api.conftest import ENDLESS, PATIENCE, Served, serving, settings_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def pending(served: Served, wanted: int) -> bool:
    return bool((await served.http.get("/v1/queue/stats")).json()["pending"] == wanted)


async def slot_taken(served: Served) -> bool:
    board = (await served.http.get("/v1/requests")).json()["requests"]
    return any(row["state"] != "queued" for row in board)


@contextmanager
def busy(served: Served) -> Iterator[asyncio.Task[object]]:
    """The slot is taken inside."""
    task: asyncio.Task[object] = asyncio.create_task(served.chat(ignore_eos=True))
    try:
        yield task
    finally:
        task.cancel()


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_a_full_queue_is_told_at_once_with_when_to_come_back(tmp_path: Path, streamed: bool) -> None:
    async with serving(tmp_path, settings_of(queue=QueueSettings(max_queue=1), model=ENDLESS)) as served:
        with busy(served):
            await until(lambda: slot_taken(served))
            waiting = asyncio.create_task(served.chat())
            await until(lambda: pending(served, 1))
            response = await served.chat(stream=streamed)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert response.json()["error"]["code"] == "queue_full"
            waiting.cancel()
        assert (await served.http.get("/v1/queue/stats")).json()["total_rejected"] == 1


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_waiting_too_long_is_a_time_out_that_sdks_do_not_retry(tmp_path: Path, streamed: bool) -> None:
    async with serving(tmp_path, settings_of(queue=QueueSettings(queue_timeout=0.05), model=ENDLESS)) as served:
        with busy(served):
            await until(lambda: slot_taken(served))
            response = await served.chat(stream=streamed)
            assert response.status_code == 504
            assert response.headers["x-should-retry"] == "false"
            assert response.json()["error"]["code"] == "queue_timeout"
            with pytest.raises(openai.InternalServerError) as caught:
                await served.client.with_options(max_retries=2).chat.completions.create(
                    model="echo", messages=[{"role": "user", "content": "hello"}]
                )
            assert caught.value.status_code == 504
        assert (await served.http.get("/v1/queue/stats")).json()["total_timed_out"] == 2


async def test_who_waits_is_served_when_the_slot_becomes_free(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        with busy(served) as first:
            await until(lambda: slot_taken(served))
            waiting = asyncio.create_task(served.chat())
            await until(lambda: pending(served, 1))
            first.cancel()
            response = await asyncio.wait_for(waiting, PATIENCE)
        assert response.json()["choices"][0]["message"]["content"] == "hello"


async def test_two_requests_that_bear_the_same_id_are_told_apart(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        with busy(served):
            await until(lambda: slot_taken(served))
            (row,) = (await served.http.get("/v1/requests")).json()["requests"]
            again = asyncio.create_task(
                served.http.post(
                    "/v1/chat/completions",
                    json={"model": "echo", "messages": [{"role": "user", "content": "x"}]},
                    headers={"x-request-id": row["id"]},
                )
            )
            await until(lambda: pending(served, 1))
            ids = [row["id"] for row in (await served.http.get("/v1/requests")).json()["requests"]]
            assert len(set(ids)) == 2
            again.cancel()
