"""Requests that wait for their model to be loaded: they are on the board, and can be cancelled there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.echo import EchoEngine, EchoModel
from core.engines.registry import Engines
from core.errors import Cancelled
from core.serving.pending import Arrivals
from core.snapshots import RequestState
from tests.api.conftest import ENDLESS, PATIENCE, Served, chat_body, serving, settings_of, until
from tests.fakes.support import asks

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Held(EchoEngine):
    """Echo, which is loaded when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.loads = 0

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        while not self.free.wait(0.005):
            if not progress(0.5):
                raise Cancelled
        self.loads += 1
        return super().load(artifact, options, progress)


class HeldShelf:
    def __init__(self, served: Served, engine: Held) -> None:
        self.served = served
        self.engine = engine

    async def rows(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = (await self.served.http.get("/v1/requests")).json()["requests"]
        return found

    async def waiting(self, *wanted: str) -> bool:
        return {row["id"] for row in await self.rows()} == set(wanted)

    @contextmanager
    def asked(self, name: str, **fields: object) -> Iterator[asyncio.Task[httpx.Response]]:
        task = asyncio.create_task(
            self.served.http.post("/v1/chat/completions", json=chat_body(**fields), headers={"x-request-id": name})
        )
        try:
            yield task
        finally:
            task.cancel()


@pytest_asyncio.fixture(loop_scope="session")
async def shelf(tmp_path: Path) -> AsyncIterator[HeldShelf]:
    engines = Engines({"echo": f"{__name__}:Held"})
    engine = engines.get("echo")
    assert isinstance(engine, Held)
    async with serving(tmp_path, model=None, engines=engines) as served:
        try:
            yield HeldShelf(served, engine)
        finally:
            engine.free.set()


async def test_who_waits_for_a_model_is_on_the_board_and_tells_for_how_long(shelf: HeldShelf) -> None:
    with shelf.asked("first"):
        await until(lambda: shelf.waiting("first"))
        (row,) = await shelf.rows()
        assert (row["model"], row["state"], row["prompt_tokens"]) == ("echo", "loading", 0)
        before = row["waited"]
        assert isinstance(before, float)
        (row,) = await shelf.rows()
        assert isinstance(row["waited"], float)
        assert row["waited"] > before
        assert row["elapsed"] == row["waited"]


async def test_a_client_that_streams_hears_something_before_the_model_is_loaded(tmp_path: Path) -> None:
    engines = Engines({"echo": f"{__name__}:Held"})
    engine = engines.get("echo")
    assert isinstance(engine, Held)
    async with (
        serving(tmp_path, model=None, engines=engines, ping=0.05) as served,
        served.http.stream("POST", "/v1/chat/completions", json=chat_body(stream=True)) as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert await anext(lines) == ": ping"
        assert engine.loads == 0
        engine.free.set()
        assert [line async for line in lines][-2] == "data: [DONE]"


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_who_waits_for_a_model_is_cancelled_by_id_and_the_load_goes_on_for_others(
    shelf: HeldShelf, streamed: bool
) -> None:
    with shelf.asked("goes", stream=streamed) as goes, shelf.asked("stays") as stays:
        await until(lambda: shelf.waiting("goes", "stays"))
        assert (await shelf.served.http.delete("/v1/requests/goes")).json() == {"id": "goes", "cancelled": True}
        refused = await asyncio.wait_for(goes, PATIENCE)
        assert (refused.status_code, refused.json()["error"]["code"]) == (499, "cancelled")
        await until(lambda: shelf.waiting("stays"))
        shelf.engine.free.set()
        answer = await asyncio.wait_for(stays, PATIENCE)
    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    assert shelf.engine.loads == 1
    assert await shelf.rows() == []
    assert (await shelf.served.http.delete("/v1/requests/goes")).status_code == 404


async def test_the_model_is_free_for_others_when_the_only_one_who_waited_was_cancelled(shelf: HeldShelf) -> None:
    with shelf.asked("goes") as goes:
        await until(lambda: shelf.waiting("goes"))
        await shelf.served.http.delete("/v1/requests/goes")
        await asyncio.wait_for(goes, PATIENCE)
    shelf.engine.free.set()
    assert (await shelf.served.chat()).status_code == 200
    (model,) = shelf.served.workbench.snapshot().models
    assert (model.in_use, model.queue.pending) == (0, 0)


async def test_two_that_wait_under_the_same_id_are_told_apart(shelf: HeldShelf) -> None:
    with shelf.asked("twin"), shelf.asked("twin"):

        async def both() -> bool:
            return len(await shelf.rows()) == 2

        await until(both)
        assert len({str(row["id"]) for row in await shelf.rows()}) == 2


async def test_the_reply_tells_the_id_that_the_request_really_goes_by(shelf: HeldShelf) -> None:
    with shelf.asked("twin") as first, shelf.asked("twin") as second:

        async def both() -> bool:
            return len(await shelf.rows()) == 2

        await until(both)
        ids = {str(row["id"]) for row in await shelf.rows()}
        shelf.engine.free.set()
        answers = await asyncio.wait_for(asyncio.gather(first, second), PATIENCE)
    assert {answer.headers["x-request-id"] for answer in answers} == ids


async def test_a_request_that_runs_keeps_its_id_to_itself(tmp_path: Path) -> None:
    name, endless = {"x-request-id": "twin"}, chat_body(stream=True, ignore_eos=True)
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:

        async def ids() -> list[str]:
            rows = (await served.http.get("/v1/requests")).json()["requests"]
            return [row["id"] for row in rows]

        async def only(wanted: str) -> bool:
            return await ids() == [wanted]

        url = "/v1/chat/completions"
        async with served.http.stream("POST", url, json=endless, headers=name) as runs:
            assert runs.headers["x-request-id"] == "twin"
            second = asyncio.create_task(served.http.post(url, json=chat_body(), headers=name))

            async def queued() -> bool:
                return len(await ids()) == 2

            await until(queued)
            (other,) = set(await ids()) - {"twin"}
            assert (await served.http.delete(f"/v1/requests/{other}")).status_code == 200
            refused = await asyncio.wait_for(second, PATIENCE)
            assert (refused.status_code, refused.headers["x-request-id"]) == (499, other)
            await until(lambda: only("twin"))


async def test_two_front_ends_cannot_give_the_same_id_to_requests_of_one_model(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        called: list[str] = []
        asked = asks("x", request_id="twin", ignore_eos=True)
        streams = [await served.workbench.requests.submit(asked, called=called.append) for _ in range(2)]
        assert [stream.request_id for stream in streams] == called
        assert called[0] == "twin"
        assert called[1].startswith("twin.")
        for stream in streams:
            stream.cancel()


async def test_a_task_that_is_cancelled_itself_is_not_taken_for_a_cancelled_request() -> None:
    arrivals, inside = Arrivals(), asyncio.Event()

    async def bring() -> None:
        with arrivals.bring(asks("x", request_id="a")) as arrival:
            assert arrival.state is RequestState.LOADING
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(bring())
    await inside.wait()
    # The board and the client's connection in the same moment.
    assert arrivals.cancel("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert arrivals.rows() == ()
    assert not arrivals.cancel("a")
