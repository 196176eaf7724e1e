"""Responses over HTTP."""

from __future__ import annotations

import threading
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseItemList
from pydantic import BaseModel, TypeAdapter

from api.http.long_work import MANY_PARTS
from api.openai.responses.translation import translate_response
from core.requests import Generation
from tests.api.conftest import Served
from tests.api.openai.responses.conftest import ask, kinds_of, refuse, response_body, stream, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_whole_response_has_all_that_the_schemas_want(echo: Served) -> None:
    told = await ask(echo, instructions="Be brief.", metadata={"a": "b"}, user="u")
    assert told["id"].startswith("resp_")
    assert told["status"] == "completed"
    assert told["output"][0]["id"].startswith("msg_")
    assert told["output"][0]["content"][0]["text"] == "hello"
    assert told["usage"]["output_tokens"] == len("hello") + 1
    assert told["usage"]["total_tokens"] == told["usage"]["input_tokens"] + told["usage"]["output_tokens"]
    assert (told["instructions"], told["metadata"], told["user"]) == ("Be brief.", {"a": "b"}, "u")


async def test_a_stream_has_its_events_in_order_and_its_ids_stay(echo: Served) -> None:
    events = await stream(echo)
    assert kinds_of(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert text_of(events) == "hello"
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1
    assert events[-1]["response"]["output"] == [events[-2]["item"]]


async def test_the_client_of_openai_streams_and_folds_the_same(echo: Served) -> None:
    async with echo.client.responses.stream(model="echo", input="hello") as streamed:
        final = await streamed.get_final_response()
    assert final.output_text == "hello"
    created = await echo.client.responses.create(model="echo", input="hello")
    assert created.output_text == "hello"


class City(BaseModel):
    name: str


async def test_structured_output_is_parsed_by_the_client_of_openai(echo: Served) -> None:
    parsed = await echo.client.responses.parse(model="echo", input='{"name":"Rome"}', text_format=City)
    assert parsed.output_parsed == City(name="Rome")


async def test_a_long_conversation_is_translated_off_the_event_loop(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def translate(*given: Any, **named: Any) -> Generation:
        threads.append(threading.get_ident())
        return translate_response(*given, **named)

    monkeypatch.setattr("api.openai.responses.service.translate_response", translate)
    turn = {"role": "user", "content": ""}
    for items in (1, MANY_PARTS + 1):
        body = response_body(input=[turn] * items)
        counted = await echo.http.post("/v1/responses/input_tokens", json=body)
        assert counted.status_code == 200, counted.text
    here = threading.get_ident()
    assert [each == here for each in threads] == [True, False]


async def test_what_is_cut_short_is_incomplete(echo: Served) -> None:
    events = await stream(echo, max_output_tokens=3)
    assert kinds_of(events)[-1] == "incomplete"
    last = events[-1]["response"]
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["output"][0]["status"] == "incomplete"
    assert text_of(events) == "hel"


async def test_logprobs_come_where_they_are_included(echo: Served) -> None:
    events = await stream(echo, include=["message.output_text.logprobs"], top_logprobs=1)
    tokens = [token["token"] for event in events if event["type"].endswith("text.delta") for token in event["logprobs"]]
    assert "".join(tokens) == "hello"
    part = events[-1]["response"]["output"][0]["content"][0]
    assert [token["token"] for token in part["logprobs"]] == list("hello")
    assert part["logprobs"][0]["top_logprobs"][0]["token"] == "h"


async def test_a_response_goes_on_from_the_one_before(echo: Served) -> None:
    first = await ask(echo, input="one")
    second = await ask(echo, input="two", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + len("one")
    listed = (await echo.http.get(f"/v1/responses/{second['id']}/input_items", params={"order": "asc"})).json()
    TypeAdapter(ResponseItemList).validate_python(listed, strict=True)
    assert [item["content"][0]["text"] for item in listed["data"]] == ["one", "one", "two"]
    assert [item["role"] for item in listed["data"]] == ["user", "assistant", "user"]


async def test_input_items_come_in_pages_the_newest_first(echo: Served) -> None:
    told = await ask(echo, input=[{"role": "user", "content": word} for word in ("a", "b", "c")])
    at = f"/v1/responses/{told['id']}/input_items"
    first = (await echo.http.get(at, params={"limit": 2})).json()
    second = (await echo.http.get(at, params={"limit": 2, "after": first["last_id"]})).json()
    assert [item["content"][0]["text"] for item in (*first["data"], *second["data"])] == ["c", "b", "a"]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert (await echo.http.get(at, params={"limit": 101})).status_code == 400
    assert (await echo.http.get(at, params={"after": "msg_0"})).status_code == 400


async def test_an_item_is_referred_to_by_its_id(echo: Served) -> None:
    first = await ask(echo, input="said before")
    told = await ask(
        echo, input=[{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "x"}]
    )
    plain = await ask(echo, input=[{"role": "assistant", "content": "said before"}, {"role": "user", "content": "x"}])
    assert told["usage"]["input_tokens"] == plain["usage"]["input_tokens"]


async def test_a_response_is_retrieved_and_deleted(echo: Served) -> None:
    responses = echo.client.responses
    told = await responses.create(model="echo", input="hello")
    assert (await responses.retrieve(told.id)).output_text == "hello"
    await responses.delete(told.id)
    with pytest.raises(openai.NotFoundError):
        await responses.retrieve(told.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await responses.create(model="echo", input="x", previous_response_id=told.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_a_response_of_another_key_is_not_found(echo: Served) -> None:
    told = await ask(echo)
    others = {"authorization": "Bearer another"}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        answered = await echo.http.request(method, f"/v1/responses/{told['id']}{path}", headers=others)
        assert answered.status_code == 404, (method, path)
    body = response_body(previous_response_id=told["id"])
    answered = await echo.http.post("/v1/responses", json=body, headers=others)
    assert answered.json()["error"]["code"] == "previous_response_not_found"
    item = {"type": "item_reference", "id": told["output"][0]["id"]}
    answered = await echo.http.post("/v1/responses", json=response_body(input=[item]), headers=others)
    assert answered.json()["error"]["param"] == "input[0].id"


async def test_a_response_that_is_not_to_be_stored_is_not(echo: Served) -> None:
    told = await ask(echo, store=False)
    assert (await echo.http.get(f"/v1/responses/{told['id']}")).status_code == 404


async def test_what_is_too_long_is_told_as_that(echo: Served) -> None:
    error = await refuse(echo, input="x" * 9000)
    assert (error["status"], error["code"], error["param"]) == (400, "context_length_exceeded", "input")


async def test_the_tokens_of_an_input_are_counted(echo: Served) -> None:
    counted = await echo.client.responses.input_tokens.count(model="echo", input="hello")
    assert counted.input_tokens == (await ask(echo))["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":"echo","input":' + b"[" * 100_000, None),
        (b'{"model":"echo","input":[' + b'{"a":' * 100_000, None),
        (b'{"model":"echo","input":"x","temperature":NaN}', "temperature"),
        (b'{"model":"echo","input":[{"role":"user","content":"\\ud800"}]}', "input[0].content"),
        (b'{"model":"echo","input":"x","max_output_tokens":1e10}', "max_output_tokens"),
        (b'{"model":"echo","input":"x","max_output_tokens":"many"}', "max_output_tokens"),
        (b'{"model":"echo","input":[{"role":"user","content":"\xff"}]}', None),
        (
            b'{"model":"echo","input":"x","tools":[{"type":"function","name":"' + b"n" * 1_000_000 + b'"}]}',
            "tools[0].name",
        ),
        (b'{"model":"echo","input":"x","tools":[5]}', "tools[0]"),
        (b'{"model":"echo","input":"x","previous_response_id":"' + b"r" * 1000 + b'"}', "previous_response_id"),
        (b'{"model":"echo","input":"x","metadata":{"a":[]}}', "metadata"),
        (b'{"model":"echo","input":"x","tool_choice":{"type":"function","name":5}}', "tool_choice.name"),
    ],
)
async def test_what_is_wrong_with_a_body_is_told_by_the_name_of_its_field(
    echo: Served, body: bytes, field: str | None
) -> None:
    answered = await echo.http.post("/v1/responses", content=body)
    assert answered.status_code == 400
    error = answered.json()["error"]
    assert (error["type"], (error["param"] or "").partition(".a")[0] or None) == ("invalid_request_error", field)
    assert len(error["message"]) < 400


async def test_many_tools_do_not_hold_up_others(echo: Served) -> None:
    tools = [{"type": "function", "name": f"tool_{at}", "parameters": {"type": "object"}} for at in range(9000)]
    answered = await echo.http.post("/v1/responses", json=response_body(tools=tools, store=False))
    assert answered.status_code == 200, answered.text
    assert "tools" in answered.headers["x-benchtop-ignored"]
