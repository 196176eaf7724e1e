"""What is added to a response over its WebSocket while it is being answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection

from core.engines.registry import Engines
from core.settings.model import ModelSettings
from tests.api.conftest import PATIENCE, Served, serving, settings_of
from tests.api.openai.responses.test_socket import opened, receive, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = "word after word, so that there is time " * 8
CALL = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
IMAGE = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_image", "image_url": "x", "detail": "auto"}],
}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def unhurried(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """As `caller`, at the pace of a real model."""
    engines = Engines({"echo": "tests.fakes.callers:UnhurriedCallingEcho"})
    settings = settings_of(model=ModelSettings(ctx_size=65_536))
    async with serving(tmp_path_factory.mktemp("unhurried"), settings, engines=engines) as served:
        yield served


async def steer(socket: ClientConnection, **fields: object) -> None:
    await socket.send(json.dumps({"type": "response.steer"} | fields))


async def read_until(socket: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    events = [await receive(socket)]
    while events[-1]["type"] not in kinds:
        events.append(await receive(socket))
    return events


async def test_a_response_that_was_steered_is_gone_on_with_under_its_settings(unhurried: Served) -> None:
    async with opened(unhurried) as socket:
        await send(socket, input=LONG, metadata={"a": "b"}, store=False)
        first = (await receive(socket))["response"]["id"]
        await steer(socket, previous_response_id=first, input="and one thing more")
        events = await read_until(socket, "response.completed")
        events += await read_until(socket, "response.completed")
    (accepted,) = [event for event in events if event["type"] == "response.steer.accepted"]
    assert accepted["steer"]["previous_response_id"] == first
    ends = [event["response"] for event in events if event["type"] == "response.completed"]
    assert [end["previous_response_id"] for end in ends] == [None, first]
    assert ends[1]["output"][0]["content"][0]["text"] == "and one thing more"
    assert ends[1]["metadata"] == {"a": "b"}
    numbers = [event["sequence_number"] for event in events]
    begun = numbers.index(0)
    # Each of the two responses numbers its own events, those of steering among them.
    assert numbers[:begun] == list(range(1, begun + 1))
    assert numbers[begun:] == list(range(len(numbers) - begun))


async def test_a_long_answer_is_left_behind_the_line_that_it_is_writing(unhurried: Served) -> None:
    async with opened(unhurried) as socket:
        await send(socket, input=f"{LONG}\n" * 40)
        first = (await receive(socket))["response"]["id"]
        await steer(socket, previous_response_id=first, input="something else")
        events = await read_until(socket, "response.incomplete")
        events += await read_until(socket, "response.completed")
        listed = (await unhurried.http.get(f"/v1/responses/{first}")).json()
    left = next(event["response"] for event in events if event["type"] == "response.incomplete")
    assert left["incomplete_details"]["reason"] == "steered"
    (message,) = left["output"]
    text = message["content"][0]["text"]
    assert message["status"] == "incomplete"
    assert text.endswith("\n")
    assert len(text) < len(LONG) * 20
    assert left["usage"]["output_tokens"] >= len(text)
    assert (listed["status"], listed["output"]) == ("incomplete", left["output"])
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "something else"
    told = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(told) == f"{text}something else"


async def test_an_answer_of_a_certain_form_is_not_cut_short(unhurried: Served) -> None:
    said = json.dumps({"text": LONG}, indent=1)
    form = {"format": {"type": "json_schema", "name": "text", "schema": {"type": "object"}}}
    async with opened(unhurried) as socket:
        await send(socket, input=said, text=form)
        first = (await receive(socket))["response"]["id"]
        await steer(socket, previous_response_id=first, input="{}")
        ended = (await read_until(socket, "response.completed", "response.incomplete"))[-1]
        await read_until(socket, "response.completed")
    assert (ended["type"], json.loads(ended["response"]["output"][0]["content"][0]["text"])) == (
        "response.completed",
        {"text": LONG},
    )


async def test_a_response_that_waits_for_results_is_steered_by_the_request_that_brings_them(unhurried: Served) -> None:
    async with opened(unhurried) as socket:
        await send(socket, input=f"{LONG}{CALL}", tools=[WEATHER], stream_id="one")
        first = (await receive(socket))["response"]["id"]
        await steer(socket, previous_response_id=first, input=[{"role": "user", "content": "be brief"}])
        *events, pending = await read_until(socket, "response.steer.pending")
        calls = [item for item in events[-1]["response"]["output"] if item["type"] == "function_call"]
        (required,) = pending["required_input"]
        assert (required["type"], required["call_id"]) == ("function_call_output", calls[0]["call_id"])
        assert (pending["stream_id"], pending["sequence_number"]) == ("one", events[-1]["sequence_number"] + 1)
        result = {"type": "function_call_output", "call_id": required["call_id"], "output": "Rain."}
        await send(socket, input=[result], previous_response_id=first, tools=[WEATHER], stream_id="one")
        last = (await read_until(socket, "response.completed"))[-1]["response"]
        listed = (await unhurried.http.get(f"/v1/responses/{last['id']}/input_items?order=asc")).json()["data"]
    assert [item["type"] for item in listed][-2:] == ["message", "function_call_output"]
    assert listed[-2]["content"][0]["text"] == "be brief"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"input": "more"}, "response_not_found"),
        ({"input": 5}, None),
        ({"input": []}, "invalid_input"),
        ({"input": [{"type": "message", "role": "system", "content": "x"}]}, "invalid_input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "invalid_input"),
        ({"input": [IMAGE]}, "invalid_input"),
        ({"input": "more", "stream_id": "one"}, "invalid_input"),
        ({"input": "more", "previous_response_id": 5}, None),
    ],
)
async def test_what_cannot_steer_is_given_back_and_the_connection_lives_on(
    echo: Served, fields: dict[str, object], code: str | None
) -> None:
    async with opened(echo) as socket:
        await steer(socket, **({"previous_response_id": "resp_none"} | fields))
        # What is given back need not be what the models of OpenAI's client can hold.
        told = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
        if code is None:
            assert (told["type"], told["status"]) == ("error", 400)
        else:
            assert (told["type"], told["error"]["code"]) == ("response.steer.failed", code)
            assert told["steer"] == {"previous_response_id": "resp_none", "input": fields["input"]}
        await send(socket)
        await read_until(socket, "response.completed")


async def test_more_additions_than_wait_for_one_response_are_given_back(unhurried: Served) -> None:
    async with opened(unhurried) as socket:
        await send(socket, input=f"{LONG}{CALL}", tools=[WEATHER])
        first = (await receive(socket))["response"]["id"]
        for number in range(17):
            await steer(socket, previous_response_id=first, input=f"addition {number}")
        failed = (await read_until(socket, "response.steer.failed"))[-1]
    assert (failed["error"]["code"], failed["steer"]["input"]) == ("too_many_pending_steers", "addition 16")
