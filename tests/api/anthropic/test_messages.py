"""Anthropic's Messages over the wire: what is answered, counted, listed and refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.settings.model import ModelSettings
from core.settings.schema import QueueSettings, ServerSettings
from tests.api.anthropic.conftest import HOSTED, VERSIONED, WEATHER, message_body, post_message, read_events
from tests.api.conftest import ENDLESS, Served, serving, settings_of, until, user

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_reply_is_a_message_with_blocks_and_usage(echo: Served) -> None:
    response = await post_message(echo)
    reply = response.json()
    assert reply["type"] == "message"
    assert reply["id"].startswith("msg_")
    assert reply["role"] == "assistant"
    assert reply["model"] == "echo"
    assert reply["content"] == [{"type": "text", "text": "hello"}]
    assert reply["stop_reason"] == "end_turn"
    assert reply["stop_sequence"] is None
    assert reply["usage"]["output_tokens"] == len("hello") + 1
    assert response.headers["request-id"] == response.headers["x-request-id"]


async def test_a_stream_has_its_events_in_order_each_by_its_name(echo: Served) -> None:
    response = await post_message(echo, stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = read_events(response.content)
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(event["delta"]["text"] for event in events[2:-3]) == "hello"
    assert {event["index"] for event in events[1:-2]} == {0}
    assert events[0]["message"]["stop_reason"] is None
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


async def test_input_tokens_leave_out_what_was_cached_in_replies_and_in_streams(echo: Served) -> None:
    asked = user("a prompt of this test alone, and of the messages")
    first = (await post_message(echo, messages=asked)).json()["usage"]
    again = (await post_message(echo, messages=asked)).json()["usage"]
    assert again["cache_read_input_tokens"] > first["cache_read_input_tokens"]
    whole = first["input_tokens"] + first["cache_read_input_tokens"]
    assert again["input_tokens"] + again["cache_read_input_tokens"] == whole
    events = read_events((await post_message(echo, messages=asked, stream=True)).content)
    begun, ended = events[0]["message"]["usage"], events[-2]["usage"]
    assert begun["input_tokens"] == ended["input_tokens"] == again["input_tokens"]
    assert begun["cache_read_input_tokens"] == ended["cache_read_input_tokens"] == again["cache_read_input_tokens"]


async def test_max_tokens_and_stop_sequences_say_why_an_answer_ended(echo: Served) -> None:
    cut = (await post_message(echo, max_tokens=3)).json()
    assert (cut["content"][0]["text"], cut["stop_reason"]) == ("hel", "max_tokens")
    stopped = (await post_message(echo, messages=user("one two three"), stop_sequences=["never", " thr"])).json()
    assert stopped["content"][0]["text"] == "one two"
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " thr")


async def test_with_no_tokens_the_prompt_is_cached_and_nothing_is_said(echo: Served) -> None:
    asked = user("a prompt that is warmed, and asked only then")
    warmed = (await post_message(echo, messages=asked, max_tokens=0)).json()
    assert (warmed["content"], warmed["stop_reason"]) == ([], "max_tokens")
    assert warmed["usage"]["output_tokens"] == 0
    assert (await post_message(echo, messages=asked)).json()["usage"]["input_tokens"] == 1
    events = read_events((await post_message(echo, messages=asked, max_tokens=0, stream=True)).content)
    assert [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]


async def test_a_full_context_ends_an_answer_by_its_own_word(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ModelSettings(slots=1, ctx_size=128))) as served:
        reply = (await post_message(served, ignore_eos=True, max_tokens=10_000)).json()
    assert reply["stop_reason"] == "model_context_window_exceeded"


async def test_what_clients_send_beside_the_prompt_is_taken_and_what_nothing_comes_of_is_told(echo: Served) -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    response = await echo.http.post(
        "/v1/messages?beta=true",
        json=message_body(
            system=[{"type": "text", "text": "Be brief.", **mark}],
            messages=[
                *user([{"type": "text", "text": "one", **mark}]),
                {"role": "system", "content": "From here on in French."},
                *user("two"),
            ],
            tools=[{**WEATHER, **mark, "type": "custom"}, HOSTED],
            metadata={"user_id": "somebody"},
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            service_tier="auto",
            thinking={"type": "adaptive"},
            output_config={"effort": "high"},
            temperature=1,
            top_k=40,
            top_p=0.9,
            stop_sequences=[],
            betas=["interleaved-thinking-2025-05-14"],
        ),
        headers={**VERSIONED, "anthropic-beta": "claude-code-20250219"},
    )
    assert response.status_code == 200, response.text
    assert response.json()["content"][0]["text"] == "two"
    vain = {"thinking", "output_config.effort"}
    told = set(response.headers["x-benchtop-ignored"].split(", "))
    assert told == {"tools.max_uses", "tools", "metadata", "context_management", "betas", *vain}


async def test_a_count_needs_no_max_tokens_and_tells_what_an_answer_would_take(echo: Served) -> None:
    body = {"model": "echo", "system": "Be brief.", "messages": user("hello"), "tools": [WEATHER]}
    response = await echo.http.post("/v1/messages/count_tokens", json=body)
    assert response.status_code == 200, response.text
    usage = (await post_message(echo, **body)).json()["usage"]
    assert response.json() == {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]}


async def test_a_count_tells_also_what_is_more_than_the_context(echo: Served) -> None:
    response = await echo.http.post(
        "/v1/messages/count_tokens", json={"model": "echo", "messages": user("x" * 9000), "max_tokens": 5}
    )
    assert response.json()["input_tokens"] > 9000


async def test_a_prompt_that_is_too_long_is_told_in_the_words_by_which_clients_compact(echo: Served) -> None:
    response = await post_message(echo, messages=user("x" * 9000))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("prompt is too long: 9019 tokens > 8191 maximum")


async def test_models_are_listed_in_the_form_of_who_asks(echo: Served) -> None:
    page = (await echo.http.get("/v1/models", headers=VERSIONED)).json()
    assert page["data"][0] == page["data"][0] | {"type": "model", "id": "echo", "max_input_tokens": 8192}
    assert page["first_id"] == "echo"
    assert page["has_more"] is False
    assert (await echo.http.get("/v1/models")).json()["object"] == "list"
    one = (await echo.http.get("/v1/models/echo", headers=VERSIONED)).json()
    assert one == page["data"][0]
    lost = await echo.http.get("/v1/models/nothing", headers=VERSIONED)
    assert (lost.status_code, lost.json()["error"]["type"]) == (404, "not_found_error")


async def test_a_list_of_models_has_pages(echo: Served) -> None:
    async def page(query: dict[str, str]) -> Any:
        return (await echo.http.get("/v1/models", params=query, headers=VERSIONED)).json()

    first = await page({"limit": "1"})
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (["echo"], True)
    rest = await page({"limit": "1", "after_id": "echo"})
    assert "echo" not in [each["id"] for each in rest["data"]]
    back = await page({"before_id": rest["first_id"]})
    assert [each["id"] for each in back["data"]] == ["echo"]
    for wrong in ({"limit": "0"}, {"limit": "many"}, {"after_id": "nothing"}):
        refused = await echo.http.get("/v1/models", params=wrong, headers=VERSIONED)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


# --- errors ----------------------------------------------------------------------------------------------------------


async def test_the_guards_refuse_in_this_form_too(tmp_path: Path) -> None:
    settings = settings_of(ServerSettings(port=0, api_keys=("k",), max_body=2048))
    async with serving(tmp_path, settings) as served:
        denied = await post_message(served)
        assert (denied.status_code, denied.json()["error"]["type"]) == (401, "authentication_error")
        key = {"x-api-key": "k"}
        large = await served.http.post("/v1/messages", json=message_body(system="x" * 4096), headers=key)
        assert (large.status_code, large.json()["error"]["type"]) == (413, "request_too_large")
        lost = await served.http.get("/v1/nothing", headers={**key, **VERSIONED})
        assert (lost.status_code, lost.json()["error"]["type"]) == (404, "not_found_error")
        method = await served.http.put("/v1/messages", headers=key)
        assert (method.status_code, method.json()["error"]["type"]) == (405, "invalid_request_error")
        foreign = await served.http.post("/v1/messages", headers={"host": "elsewhere.example"})
        assert (foreign.status_code, foreign.json()["error"]["type"]) == (403, "permission_error")
        for response in (denied, large, lost, method, foreign):
            assert response.json()["type"] == "error"
            assert response.json()["request_id"] == response.headers["request-id"]
        assert (await served.http.get("/v1/models")).json()["error"]["code"] == "missing_api_key"


async def test_a_full_queue_is_529_and_says_when_to_come_again(tmp_path: Path) -> None:
    settings = settings_of(queue=QueueSettings(max_queue=1), model=ENDLESS)
    async with serving(tmp_path, settings) as served:
        body: dict[str, object] = {"ignore_eos": True, "max_tokens": 2**31 - 1}
        running = asyncio.create_task(post_message(served, **body))
        await until(lambda: _has(served, "running"))
        waiting = asyncio.create_task(post_message(served, **body))
        await until(lambda: _has(served, "pending"))
        full = await post_message(served, stream=True)
        assert (full.status_code, full.json()["error"]["type"]) == (529, "overloaded_error")
        assert int(full.headers["retry-after"]) >= 1
        for task in (running, waiting):
            task.cancel()


async def test_waiting_in_vain_is_504_and_not_to_be_tried_again(tmp_path: Path) -> None:
    settings = settings_of(queue=QueueSettings(queue_timeout=0.05), model=ENDLESS)
    async with serving(tmp_path, settings) as served:
        running = asyncio.create_task(post_message(served, ignore_eos=True, max_tokens=2**31 - 1))
        await until(lambda: _has(served, "running"))
        late = await post_message(served, stream=True)
        assert (late.status_code, late.json()["error"]["type"]) == (504, "timeout_error")
        assert late.headers["x-should-retry"] == "false"
        running.cancel()


async def _has(served: Served, what: str) -> bool:
    if what == "pending":
        return bool((await served.http.get("/v1/queue/stats")).json()["pending"])
    board = (await served.http.get("/v1/requests")).json()["requests"]
    return any(row["state"] != "queued" for row in board)


WRONG: list[tuple[dict[str, object], str]] = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": "8"}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences"),
    ({"stop_sequences": ["x"] * 65}, "stop_sequences"),
    ({"stream": "yes"}, "stream"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": user([{"type": "hologram"}])}, "messages[0].content[0].type"),
    ({"messages": user([{"type": "text"}])}, "messages[0].content[0].text"),
    ({"messages": user([{"type": "text", "text": "x", "colour": "red"}])}, "messages[0].content[0].colour"),
    ({"messages": user([{"type": "image", "source": {}}])}, "messages[0].content[0]"),
    ({"messages": user([{"type": "document", "source": {"type": "url", "url": "x"}}])}, "messages[0].content[0]"),
    ({"messages": user([{"type": "tool_use", "id": "a", "name": "b", "input": {}}])}, "messages[0].content[0]"),
    (
        {"messages": user([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}])},
        "messages[0].content[0].content[0]",
    ),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]}, "content[0]"),
    ({"messages": [{"role": "system", "content": [{"type": "thinking", "thinking": "x"}]}]}, "content[0]"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": []}]}]},
        "messages[0].content[0].input",
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
        "messages[0]",
    ),
    ({"system": 5}, "system"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"name": "f" * 1_000_000, "input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1]"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tool_choice": {"type": "some"}}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "f"}}, "tool_choice"),
    ({"tools": [WEATHER, HOSTED], "tool_choice": {"type": "tool", "name": "web_search"}}, "tool_choice"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
    ({"output_config": {"effort": "little"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "text", "schema": {}}}}, "output_config.format.type"),
    ({"output_config": {"format": {"type": "json_schema", "schema": 5}}}, "output_config.format.schema"),
    ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
    ({"container": "c"}, "container"),
    ({"cache_control": {"type": "eternal"}}, "cache_control.type"),
    ({"temprature": 1}, "temprature"),
    ({"model": 5}, "model"),
    ({"n": 2}, "n"),
    ({"chat_template_kwargs": {"messages": "x"}}, "chat_template_kwargs"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=[f"{named}-{at}" for at, (_, named) in enumerate(WRONG)])
async def test_a_wrong_field_is_named_in_this_form(echo: Served, fields: dict[str, object], named: str) -> None:
    response = await post_message(echo, **fields)
    assert response.status_code == 400, response.text
    body = response.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert named in body["error"]["message"]
    assert len(body["error"]["message"]) < 1000


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"max_tokens": NaN}', b"\xff", b'{"tools": ' + b"[" * 200_000])
async def test_a_broken_body_is_a_bad_request_in_this_form(echo: Served, content: bytes) -> None:
    response = await echo.http.post("/v1/messages", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
