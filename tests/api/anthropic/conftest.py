"""Requests and streams of Anthropic's Messages, as their clients see them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.api.conftest import Served, user

VERSIONED = {"anthropic-version": "2023-06-01"}
WEATHER: dict[str, object] = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HOSTED: dict[str, object] = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}


def message_body(**fields: object) -> dict[str, object]:
    return {"model": "echo", "max_tokens": 100, "messages": user("hello")} | fields


async def post_message(served: Served, **fields: object) -> httpx.Response:
    return await served.http.post("/v1/messages", json=message_body(**fields))


def read_events(stream: bytes) -> list[dict[str, Any]]:
    """The data of each event of a stream; each has its type as its name."""
    events = []
    for frame in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events
