"""Responses in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from api.openai.responses.background import EventLog
from tests.api.conftest import ENDLESS, Served, serving, settings_of, until
from tests.api.openai.responses.conftest import (
    ask,
    check_response,
    kinds_of,
    read_events,
    refuse,
    response_body,
    stream,
    text_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def endless(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        yield served


async def get(served: Served, response_id: str, **parameters: Any) -> dict[str, Any]:
    answered = await served.http.get(f"/v1/responses/{response_id}", params=parameters)
    assert answered.status_code == 200, answered.text
    told: dict[str, Any] = answered.json()
    check_response(told)
    return told


async def follow(served: Served, response_id: str, after: int) -> list[dict[str, Any]]:
    parameters = {"stream": "true", "starting_after": str(after)}
    answered = await served.http.get(f"/v1/responses/{response_id}", params=parameters)
    assert answered.status_code == 200, answered.text
    return read_events(answered, first=after + 1)


async def test_a_response_in_the_background_is_told_at_once_and_retrieved_when_it_is_done(echo: Served) -> None:
    told = await ask(echo, background=True)
    assert (told["status"], told["output"], told["background"]) == ("queued", [], True)

    async def done() -> bool:
        return bool((await get(echo, told["id"]))["status"] == "completed")

    await until(done)
    assert (await get(echo, told["id"]))["output"][0]["content"][0]["text"] == "hello"
    goes_on = await ask(echo, previous_response_id=told["id"])
    assert goes_on["status"] == "completed"


async def test_what_was_dropped_of_a_request_stands_in_the_response_that_comes_later(echo: Served) -> None:
    last = (await stream(echo, background=True, truncation="auto"))[-1]["response"]
    assert last["ignored"] == ["truncation"]
    assert "ignored" not in (await stream(echo, truncation="auto"))[-1]["response"]


async def test_its_events_can_be_followed_from_any_number_also_when_it_has_ended(echo: Served) -> None:
    events = await stream(echo, background=True)
    assert kinds_of(events)[:3] == ["created", "queued", "in_progress"]
    assert text_of(events) == "hello"
    response_id = events[0]["response"]["id"]
    for after in (-1, 0, 7, len(events) - 1):
        assert await follow(echo, response_id, after) == events[after + 1 :]


async def test_it_is_followed_while_it_runs_and_goes_on_when_its_follower_leaves(endless: Served) -> None:
    body = response_body(background=True, stream=True, ignore_eos=True)
    async with endless.http.stream("POST", "/v1/responses", json=body) as answered:
        frames = answered.aiter_lines()
        while not (line := await anext(frames)).startswith("data: "):
            pass
        response_id = line.split('"id":"')[1].split('"')[0]
    assert (await get(endless, response_id))["status"] in ("queued", "in_progress")
    async with endless.http.stream("GET", f"/v1/responses/{response_id}", params={"stream": "true"}) as answered:
        assert "response.created" in await anext(answered.aiter_lines())
    await endless.http.post(f"/v1/responses/{response_id}/cancel")


async def test_it_is_cancelled_wherever_it_is_and_stays_so(endless: Served) -> None:
    running = await ask(endless, background=True, ignore_eos=True)
    waiting = await ask(endless, background=True, ignore_eos=True)
    for told in (waiting, running):
        cancelled = (await endless.http.post(f"/v1/responses/{told['id']}/cancel")).json()
        check_response(cancelled)
        assert cancelled["status"] == "cancelled"
        assert (await endless.http.post(f"/v1/responses/{told['id']}/cancel")).json() == cancelled
        assert (await get(endless, told["id"])) == cancelled
        assert (await follow(endless, told["id"], -1))[-1]["response"] == cancelled


async def test_deleting_it_cancels_it(endless: Served) -> None:
    told = await ask(endless, background=True, ignore_eos=True)
    await endless.http.delete(f"/v1/responses/{told['id']}")
    assert (await endless.http.get(f"/v1/responses/{told['id']}")).status_code == 404

    async def idle() -> bool:
        return not (await endless.http.get("/v1/requests")).json()["requests"]

    await until(idle)


async def test_a_response_of_a_connection_cannot_be_cancelled_or_streamed_again(echo: Served) -> None:
    told = await ask(echo)
    assert (await echo.http.post(f"/v1/responses/{told['id']}/cancel")).status_code == 400
    assert (await echo.http.get(f"/v1/responses/{told['id']}", params={"stream": "true"})).status_code == 400


async def test_what_fails_in_the_background_is_told_by_the_response(echo: Served) -> None:
    told = await ask(echo, background=True, input="x" * 9000)
    at = f"/v1/responses/{told['id']}"

    async def done() -> bool:
        return '"status":"failed"' in (await echo.http.get(at)).text

    await until(done)
    # Not among the codes of OpenAI's client, but the one by which agents know that they have to compact.
    assert (await echo.http.get(at)).json()["error"]["code"] == "context_length_exceeded"
    assert (await refuse(echo, previous_response_id=told["id"]))["param"] == "input"


async def test_what_runs_in_the_background_ends_with_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        await ask(served, background=True, ignore_eos=True)
        await served.server.stop(drain=0)

        async def idle() -> bool:
            return not served.workbench.snapshot().requests

        await until(idle)


async def test_a_log_drops_its_oldest_events_and_is_followed_from_those_that_are_left() -> None:
    events = EventLog(most_bytes=3)
    events.add([b"0", b"1", b"2", b"3"], ended=False)
    assert events.first == 1
    following = aiter(events.follow(2))
    assert await anext(following) == b"23"
    coming = asyncio.ensure_future(anext(following, None))
    await asyncio.sleep(0)
    events.add([b"4"], ended=True)
    assert await coming == b"4"
    assert await anext(following, None) is None
