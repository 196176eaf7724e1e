"""Responses over HTTP, each of whose events is held against the models of OpenAI's own client, and against OpenAI's
published API description.

`openai_schema.json` is the part of that description (2.3.0, of August 2026) that is about responses, without words and
without what no server but OpenAI's own can have: hosted tools, moderation, prompts that are kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.api.conftest import Served
from tests.api.openai.responses.open_responses import check_open, check_open_event

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
Document = dict[str, Any]
SCHEMAS: Document = json.loads((Path(__file__).parent / "openai_schema.json").read_text(encoding="utf-8"))
NOT_NULLABLE = frozenset({"usage", "user", "safety_identifier", "prompt_cache_key"})
"""Fields of a response that are null where nothing is known, as OpenAI's own are and the schema of Open Responses wants
it, while OpenAI's description forgets it."""


def response_body(**fields: object) -> dict[str, object]:
    return {"model": "echo", "input": "hello"} | fields


async def ask(served: Served, **fields: object) -> Document:
    """A whole response."""
    answered = await served.http.post("/v1/responses", json=response_body(**fields))
    assert answered.status_code == 200, answered.text
    told: Document = answered.json()
    check_response(told)
    return told


async def refuse(served: Served, **fields: object) -> Document:
    """The error of a request that is refused, with its status."""
    answered = await served.http.post("/v1/responses", json=response_body(**fields))
    assert answered.status_code >= 400, answered.text
    error: Document = answered.json()["error"]
    return error | {"status": answered.status_code}


async def stream(served: Served, **fields: object) -> list[Document]:
    """All events of a streamed response."""
    answered = await served.http.post("/v1/responses", json=response_body(stream=True, **fields))
    assert answered.status_code == 200, answered.text
    return read_events(answered)


def read_events(answered: httpx.Response, first: int = 0) -> list[Document]:
    frames = [frame for frame in answered.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames[-1] == "data: [DONE]"
    return check_events(list(_decode(frames[:-1])), first)


def _decode(frames: Sequence[str]) -> Iterator[Document]:
    for frame in frames:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        yield event


def check_events(events: Sequence[Document], first: int = 0) -> list[Document]:
    """They are as OpenAI's client expects them, and numbered without a gap."""
    for number, event in enumerate(events, first):
        assert event["sequence_number"] == number
        EVENT.validate_python(event, strict=True)
        find_validator(find_schema(event["type"])).validate(without_nulls(event))
        check_open_event(event)
        if "response" in event:
            check_response(event["response"])
    return list(events)


@cache
def find_validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**SCHEMAS, "$ref": f"#/components/schemas/{name}"})


@cache
def find_schema(kind: str) -> str:
    """The name of the schema of events of a type."""
    named = SCHEMAS["components"]["schemas"].items()
    (found,) = [name for name, each in named if kind in each.get("properties", {}).get("type", {}).get("enum", ())]
    return str(found)


def without_nulls(event: Mapping[str, Any]) -> Mapping[str, Any]:
    response = event.get("response")
    if response is None:
        return event
    kept = {name: value for name, value in response.items() if value is not None or name not in NOT_NULLABLE}
    return {**event, "response": kept}


def check_response(told: Mapping[str, Any]) -> None:
    Response.model_validate(told, strict=True)
    find_validator("Response").validate(without_nulls({"response": told})["response"])
    check_open("ResponseResource", told)
    missing = REQUIRED - told.keys()
    assert not missing, missing


def kinds_of(events: Sequence[Document]) -> list[str]:
    """Their types, those of deltas once in a row."""
    kinds = [str(event["type"]).removeprefix("response.") for event in events]
    return [kind for at, kind in enumerate(kinds) if not (kind.endswith("delta") and at and kinds[at - 1] == kind)]


def text_of(events: Sequence[Document], kind: str = "output_text") -> str:
    return "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")


REQUIRED = frozenset(
    {
        *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "instructions"),
        *("previous_response_id", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls"),
        *("text", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning"),
        *("user", "usage", "max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata"),
        *("safety_identifier", "prompt_cache_key"),
    }
)
"""What the schema of Open Responses wants of every response."""
