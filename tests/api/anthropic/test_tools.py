"""Thoughts and calls of tools over Anthropic's Messages, from a model that writes them to a client that runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from core.engines.registry import Engines
from tests.api.anthropic.conftest import post_message, read_events
from tests.api.anthropic.test_writer import assemble
from tests.api.conftest import Served, serving, user
from tests.fakes.agents import NEW, OLD, SAID, write_notes, write_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = {"type": "string"}
READ = {"name": "Read", "input_schema": {"type": "object", "properties": {"file_path": TEXT}}}
EDIT = {
    "name": "Edit",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": TEXT, "old_string": TEXT, "new_string": TEXT},
        "required": ["file_path", "old_string", "new_string"],
    },
}
ASKED: dict[str, Any] = {"tools": [READ, EDIT], "max_tokens": 1000}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def editor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A model that reads a file and changes it."""
    engines = Engines({"echo": "tests.fakes.agents:ClaudeCodeEngine"})
    async with serving(tmp_path_factory.mktemp("editor"), engines=engines) as served:
        yield served


async def test_a_task_of_several_calls_is_done(editor: Served) -> None:
    turns = user(write_task("/n.txt"))
    called: list[Any] = []
    results = [write_notes("/n.txt"), f"The file has changed: {NEW}"]
    while True:
        reply = (await post_message(editor, messages=turns, **ASKED)).json()
        if reply["stop_reason"] != "tool_use":
            break
        assert [block["type"] for block in reply["content"]] == ["thinking", "text", "tool_use"]
        call = reply["content"][2]
        called.append((call["name"], call["input"]))
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": results[len(called) - 1]}
        turns = [*turns, {"role": "assistant", "content": reply["content"]}, *user([result])]
    assert called == [
        ("Read", {"file_path": "/n.txt"}),
        ("Edit", {"file_path": "/n.txt", "old_string": OLD, "new_string": NEW}),
    ]
    assert (reply["content"], reply["stop_reason"]) == ([{"type": "text", "text": SAID}], "end_turn")


async def test_a_stream_holds_the_same_blocks_and_counts_what_was_thought(editor: Served) -> None:
    turns = user(write_task("/n.txt"))
    events = read_events((await post_message(editor, messages=turns, stream=True, **ASKED)).content)
    reply = (await post_message(editor, messages=turns, **ASKED)).json()
    blocks = assemble(events)
    for each in (*blocks, *reply["content"]):
        each.pop("id", None)
    assert blocks == reply["content"]
    thought = reply["usage"]["output_tokens_details"]["thinking_tokens"]
    assert 0 < thought < reply["usage"]["output_tokens"]
    assert events[-2]["usage"]["output_tokens_details"]["thinking_tokens"] == thought


async def test_a_thought_that_is_omitted_reaches_the_model_again(editor: Served) -> None:
    turns = user(write_task("/n.txt"))
    thinking = {"type": "enabled", "budget_tokens": 500}

    async def count_next(display: str) -> int:
        asked = {**ASKED, "messages": turns, "thinking": {**thinking, "display": display}}
        content = (await post_message(editor, **asked)).json()["content"]
        assert bool(content[0]["thinking"]) == (display == "summarized")
        content[2]["id"] = "toolu_1"
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
        body = {"model": "echo", "tools": [READ, EDIT], "thinking": thinking}
        body["messages"] = [*turns, {"role": "assistant", "content": content}, *user([result])]
        return int((await editor.http.post("/v1/messages/count_tokens", json=body)).json()["input_tokens"])

    assert await count_next("omitted") == await count_next("summarized")


async def test_whether_to_think_reaches_the_template(editor: Served) -> None:
    async def count(**fields: object) -> int:
        body = {"model": "echo", "messages": user("hello"), **fields}
        return int((await editor.http.post("/v1/messages/count_tokens", json=body)).json()["input_tokens"])

    assert await count(thinking={"type": "disabled"}) > await count(thinking={"type": "adaptive"}) == await count()


async def test_a_last_message_of_the_assistant_is_gone_on_with(editor: Served) -> None:
    async def count(*messages: dict[str, object]) -> int:
        body = {"model": "echo", "messages": [*user("hello"), *messages]}
        return int((await editor.http.post("/v1/messages/count_tokens", json=body)).json()["input_tokens"])

    assert await count({"role": "assistant", "content": "It is"}) == await count() + len("It is")


async def test_where_no_tool_is_to_be_called_the_prompt_still_has_the_tools(editor: Served) -> None:
    asked = {**ASKED, "messages": user(write_task("/n.txt"))}
    await post_message(editor, **asked)
    held = (await post_message(editor, **asked, tool_choice={"type": "none"})).json()
    assert held["stop_reason"] == "end_turn"
    assert "tool_use" not in [block["type"] for block in held["content"]]
    assert held["usage"]["cache_read_input_tokens"] > held["usage"]["input_tokens"] == 1


async def test_a_thought_ends_where_its_budget_does(editor: Served) -> None:
    asked = {**ASKED, "messages": user(write_task("/n.txt"))}
    free = (await post_message(editor, **asked)).json()
    held = (await post_message(editor, **asked, thinking={"type": "enabled", "budget_tokens": 6})).json()
    assert free["content"][0]["thinking"].startswith(held["content"][0]["thinking"])
    assert len(held["content"][0]["thinking"]) <= 6
    told = [reply["usage"]["output_tokens_details"]["thinking_tokens"] for reply in (held, free)]
    assert 0 < told[0] < told[1]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "Edit"}])
async def test_a_tool_that_must_be_called_is_whatever_the_model_would_say(
    editor: Served, choice: dict[str, object]
) -> None:
    asked = {**ASKED, "messages": user("hello"), "thinking": {"type": "disabled"}, "tool_choice": choice}
    reply = (await post_message(editor, **asked)).json()
    calls = [block for block in reply["content"] if block["type"] == "tool_use"]
    assert reply["stop_reason"] == "tool_use"
    assert calls[0]["name"] == choice.get("name", calls[0]["name"])
    assert calls[0]["input"].keys() >= ({"file_path", "old_string"} if calls[0]["name"] == "Edit" else set())
