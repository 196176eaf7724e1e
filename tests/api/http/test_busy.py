"""What clients ask for holds up nobody else: a Hub that hangs, texts of a book's length, bodies of a million parts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from tests.api.conftest import Served, serving, until, user

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextmanager
def hanging(folder: Path) -> Iterator[Hub]:
    """A Hub that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield Hub(folder / "headers", HubAccess(f"http://127.0.0.1:{listening.getsockname()[1]}", folder / "hub"))


async def test_searches_at_a_hub_that_hangs_hold_up_no_chat_and_are_too_many_some_time(tmp_path: Path) -> None:
    with hanging(tmp_path) as hub:
        async with serving(tmp_path / "served") as served:
            served.workbench.models.store.hub = hub
            lane = served.workbench.lanes.hub
            async with httpx.AsyncClient(base_url=served.server.url, timeout=60) as http:
                asking = [asyncio.create_task(http.get("/v1/search", params={"q": str(n)})) for n in range(20)]

                async def full() -> bool:
                    return lane.waiting == 16

                await until(full)
                for path in ("/v1/search?q=more", "/v1/fit?model=owner/name"):
                    refused = await served.http.get(path)
                    assert refused.status_code == 503
                    assert int(refused.headers["retry-after"]) >= 1
                    assert "busy asking the Hub" in refused.json()["error"]["message"]
                refused = await served.http.post("/v1/downloads", json={"model": "owner/name"})
                assert refused.status_code == 503
                assert (await served.chat()).status_code == 200
                assert (await served.http.get("/v1/downloads")).status_code == 200
                assert (await served.http.post("/v1/models/load", json={"model": "echo"})).status_code == 200
                for task in asking:
                    task.cancel()
                await asyncio.wait(asking)

            async def left() -> bool:
                return lane.waiting == 0

            # Whoever left waits no more, though the Hub has answered nobody.
            await until(left)
            assert (await served.chat()).status_code == 200


async def test_a_text_beyond_the_context_is_refused_by_its_bytes(echo: Served) -> None:
    said = "x" * 15_000_000
    answer = await echo.chat(messages=[{"role": "user", "content": said}])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "15000000 bytes" in error["message"]


MANY = {
    "lists": b"[" + b"[]," * 3_000_000 + b"[]]",
    "objects": b"[" + b'{"a":1},' * 1_000_000 + b"{}]",
    "numbers": b"[" + b"1," * 7_000_000 + b"1]",
}


@pytest.mark.parametrize("inside", MANY.values(), ids=MANY)
async def test_a_body_of_more_parts_than_any_needs_is_not_made_into_objects(echo: Served, inside: bytes) -> None:
    for path, field in (("/v1/embeddings", b"input"), ("/v1/chat/completions", b"messages")):
        body = b'{"model": "echo", "' + field + b'": ' + inside + b"}"
        answer = await echo.http.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        told = "50,000 objects and lists" if field == b"input" else "500,000 objects and lists in tools and functions"
        assert f"too many values: at most {told}" in answer.json()["error"]["message"]


async def test_commas_and_brackets_within_a_text_are_no_parts(echo: Served) -> None:
    said = '{[",\\' * 60_000
    answer = await echo.chat(messages=[{"role": "user", "content": said}], max_tokens=1)
    assert "too many values" not in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def make_tools(count: int, lists: int) -> list[dict[str, Any]]:
    """Tools of chat with so many lists in each."""
    schema = {"type": "object", "properties": {"kind": {"enum": [[]] * lists}}}
    return [
        {"type": "function", "function": {"name": f"tool_{number}", "parameters": schema}} for number in range(count)
    ]


async def test_ten_thousand_tools_with_schemas_are_taken_in_every_dialect(echo: Served) -> None:
    tools = make_tools(10_000, 2)
    flat = [{"type": "function", **tool["function"]} for tool in tools]
    known = [{"name": tool["name"], "input_schema": tool["parameters"]} for tool in flat]
    said: dict[str, Any] = {"model": "echo", "max_tokens": 1}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": user("hi"), "tools": tools},
        "/v1/responses": {"input": "hi", "tools": flat, "max_tokens": None, "max_output_tokens": 1},
        "/v1/messages": {"messages": user("hi"), "tools": known},
        "/api/chat": {"messages": user("hi"), "tools": tools, "max_tokens": None, "options": {"num_predict": 1}},
    }
    for path, body in bodies.items():
        answer = await echo.http.post(path, json=said | body)
        assert answer.status_code == 200, answer.text
        # The model's template has no place for them.
        assert "tools" in answer.headers["x-benchtop-ignored"]


async def test_more_tools_and_more_in_them_than_anybody_has_are_refused_by_name(echo: Served) -> None:
    answer = await echo.chat(tools=make_tools(10_001, 2))
    assert answer.json()["error"]["message"] == "The field `tools` is wrong: it is too long; at most 10,000 items."
    answer = await echo.chat(tools=make_tools(1, 500_001))
    assert "at most 500,000 objects and lists in tools" in answer.json()["error"]["message"]


async def test_many_values_have_a_place_in_tools_alone(echo: Served) -> None:
    answer = await echo.chat(tools=make_tools(1, 10), messages=user([{"type": "text", "text": ""}] * 60_000))
    assert "50,000 elsewhere" in answer.json()["error"]["message"]
