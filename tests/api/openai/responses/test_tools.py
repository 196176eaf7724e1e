"""Tools and thoughts of a real model's text, over OpenAI's Responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.conftest import Served
from tests.api.openai.responses.conftest import ask, kinds_of, stream, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOK: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "description": "Look at a place.",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
        "additionalProperties": False,
    },
}
PATCH = {"type": "custom", "name": "patch", "description": "Change a file."}


def call(name: str, **arguments: object) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


async def test_thought_text_and_call_are_items_in_this_order(caller: Served) -> None:
    said = f"<think>\nhm\n</think>\n\nI look.\n{call('look', place='Rome')}"
    events = await stream(caller, input=said, tools=[LOOK], store=False)
    assert [event["item"]["type"] for event in events if event["type"].endswith("item.done")] == [
        *("reasoning", "message", "function_call"),
    ]
    assert text_of(events, "reasoning_text").strip() == "hm"
    assert text_of(events).strip() == "I look."
    item = events[-1]["response"]["output"][2]
    assert json.loads(item["arguments"]) == {"place": "Rome"}
    assert item["call_id"].startswith("call_")
    assert events[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    assert events[-1]["type"] == "response.completed"


async def test_the_output_of_a_call_goes_on_from_its_response(caller: Served) -> None:
    first = await ask(caller, input=call("look", place="Rome"), tools=[LOOK])
    (item,) = first["output"]
    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "rain"}
    second = await ask(caller, input=[output], tools=[LOOK], previous_response_id=first["id"])
    assert second["output"][0]["content"][0]["text"] == "It says: rain"
    by_hand = await ask(
        caller, input=[{"role": "user", "content": call("look", place="Rome")}, item, output], tools=[LOOK], store=False
    )
    assert by_hand["usage"]["input_tokens"] == second["usage"]["input_tokens"]


async def test_the_client_of_openai_runs_a_tool(caller: Served) -> None:
    create: Any = caller.client.responses.create
    first = await create(model="echo", input=call("look", place="Rome"), tools=[LOOK])
    (item,) = first.output
    assert item.type == "function_call"
    output = {"type": "function_call_output", "call_id": item.call_id, "output": "sun"}
    second = await create(model="echo", input=[output], previous_response_id=first.id, tools=[LOOK])
    assert second.output_text == "It says: sun"


async def test_a_custom_tool_gets_its_text_and_gives_one_back(caller: Served) -> None:
    first = await ask(caller, input=call("patch", input='a "b"\n'), tools=[PATCH])
    (item,) = first["output"]
    assert (item["type"], item["input"]) == ("custom_tool_call", 'a "b"\n')
    output = {"type": "custom_tool_call_output", "call_id": item["call_id"], "output": "done"}
    second = await ask(caller, input=[output], tools=[PATCH], previous_response_id=first["id"])
    assert second["output"][0]["content"][0]["text"] == "It says: done"


async def test_a_tool_of_a_namespace_is_called_by_both_names(caller: Served) -> None:
    space = {"type": "namespace", "name": "files", "description": "", "tools": [LOOK]}
    told = await ask(caller, input=call("files__look", place="x"), tools=[space], store=False)
    (item,) = told["output"]
    assert (item["name"], item["namespace"]) == ("look", "files")


async def test_two_calls_are_two_items(caller: Served) -> None:
    said = f"{call('look', place='a')}\n{call('look', place='b')}"
    events = await stream(caller, input=said, tools=[LOOK], store=False)
    items = events[-1]["response"]["output"]
    assert [json.loads(item["arguments"])["place"] for item in items] == ["a", "b"]
    assert len({item["call_id"] for item in items}) == 2
    assert "output_text.delta" not in kinds_of(events)


async def test_a_call_that_is_wanted_is_made_whatever_the_model_would_say(caller: Served) -> None:
    for choice in ("required", {"type": "function", "name": "look"}):
        unwilling = "<think>\nno\n</think>\n\nI would rather not."
        told = await ask(caller, input=unwilling, tools=[LOOK], tool_choice=choice, store=False)
        (item,) = [each for each in told["output"] if each["type"] == "function_call"]
        assert json.loads(item["arguments"]).keys() == {"place"}


async def test_fields_that_the_model_does_not_hear_are_told(caller: Served, echo: Served) -> None:
    body = {"model": "echo", "input": "x", "tools": [LOOK], "reasoning": {"effort": "low"}, "store": False}
    deaf = (await echo.http.post("/v1/responses", json=body)).headers["x-benchtop-ignored"]
    assert {"tools", "reasoning.effort"} <= set(deaf.split(", "))
    hearing = await caller.http.post("/v1/responses", json={**body, "reasoning": {"effort": "none"}})
    assert "tools" not in hearing.headers.get("x-benchtop-ignored", "")


async def test_thoughts_are_not_told_where_they_are_not_wanted(caller: Served) -> None:
    said = "<think>\nhm\n</think>\n\nyes"
    told = await ask(caller, input=said, reasoning={"exclude": True}, store=False)
    assert [item["type"] for item in told["output"]] == ["message"]
    assert told["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
