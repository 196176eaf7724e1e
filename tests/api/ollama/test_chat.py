"""POST /api/chat: what is answered, how it is told, and what options come to."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from core.settings.model import ModelSettings
from tests.api.conftest import Served, serving, settings_of, user
from tests.api.ollama.conftest import CALL, QUICK, SECOND, WEATHER, chat, stream_lines

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_whole_reply_has_the_message_why_it_ended_and_what_it_took(echo: Served) -> None:
    reply = await chat(echo, model="echo:latest")
    assert reply["message"] == {"role": "assistant", "content": "hello"}
    assert (reply["model"], reply["done"], reply["done_reason"]) == ("echo:latest", True, "stop")
    assert datetime.fromisoformat(reply["created_at"])
    assert reply["eval_count"] == len("hello") + 1
    assert 0 < reply["eval_duration"] <= reply["total_duration"] < 60 * SECOND
    assert 0 <= reply["load_duration"] <= reply["total_duration"]
    assert reply["prompt_eval_count"] > 0
    assert reply["prompt_eval_duration"] <= reply["total_duration"]


async def test_a_stream_is_a_line_a_step_and_one_that_ends_it(echo: Served) -> None:
    lines = await stream_lines(echo, "/api/chat", model="echo", messages=user('he said\n"ho"'))
    assert "".join(line["message"]["content"] for line in lines) == 'he said\n"ho"'
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert {line["model"] for line in lines} == {"echo"}
    assert all(datetime.fromisoformat(line["created_at"]) for line in lines)
    assert lines[0].keys() == {"model", "created_at", "message", "done"}
    assert lines[-1]["done_reason"] == "stop"
    assert lines[-1]["eval_count"] == len('he said\n"ho"') + 1


async def test_a_limit_is_told_as_such_and_none_is_any_number(echo: Served) -> None:
    cut = await chat(echo, options={"num_predict": 3})
    assert (cut["message"]["content"], cut["done_reason"]) == ("hel", "length")
    assert (await chat(echo, options={"num_predict": -1}))["message"]["content"] == "hello"
    assert (await chat(echo, messages=user("one, two"), options={"stop": [","]}))["message"]["content"] == "one"


async def test_options_are_taken_or_told(echo: Served) -> None:
    options = {"temperature": 0.1, "seed": -1, "top_k": -5, "num_gpu": 1, "num_ctx": 1_000_000, "mirostat": 0}
    response = await echo.http.post(
        "/api/chat", json={"model": "echo", "messages": user("a"), "options": options, "shift": True, "think": True}
    )
    told = response.headers["x-benchtop-ignored"].split(", ")
    assert sorted(told) == ["options.num_ctx", "options.num_gpu", "shift", "think"]
    quiet = await echo.http.post(
        "/api/chat", json={"model": "echo", "messages": user("a"), "options": {"num_ctx": 512}, "keep_alive": None}
    )
    assert "x-benchtop-ignored" not in quiet.headers


async def test_a_format_is_enforced(echo: Served) -> None:
    asked = user("no JSON at all")
    assert isinstance(json.loads((await chat(echo, messages=asked, format="json"))["message"]["content"]), dict)
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    told = json.loads((await chat(echo, messages=asked, format=schema))["message"]["content"])
    assert isinstance(told["age"], int)
    assert (await chat(echo, format=""))["message"]["content"] == "hello"


async def test_thoughts_stand_apart_from_words(caller: Served) -> None:
    asked = user("<think>\nhm\n</think>\n\nyes")
    message = (await chat(caller, messages=asked, think=True))["message"]
    assert (message["thinking"].strip(), message["content"].strip()) == ("hm", "yes")
    lines = await stream_lines(caller, "/api/chat", model="echo", messages=asked)
    assert "".join(line["message"].get("thinking", "") for line in lines).strip() == "hm"
    assert "".join(line["message"]["content"] for line in lines).strip() == "yes"


async def test_calls_come_whole_with_arguments_as_objects(caller: Served) -> None:
    (call,) = (await chat(caller, messages=user(CALL), tools=[WEATHER]))["message"]["tool_calls"]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Bonn"}}
    lines = await stream_lines(caller, "/api/chat", model="echo", messages=user(f"{CALL}\n{CALL}"), tools=[WEATHER])
    called = [call["function"] for line in lines for call in line["message"].get("tool_calls", ())]
    assert [each["index"] for each in called] == [0, 1]
    assert {each["arguments"]["city"] for each in called} == {"Bonn"}
    assert lines[-1]["done_reason"] == "stop"


async def test_a_call_that_a_limit_cuts_is_words_since_clients_run_what_they_are_told(caller: Served) -> None:
    body = {"model": "echo", "messages": user(CALL), "tools": [WEATHER], "options": {"num_predict": CALL.index("Bonn")}}
    whole = await chat(caller, **body)
    assert (whole["message"]["content"], "tool_calls" in whole["message"]) == ('{"city": "', False)
    lines = await stream_lines(caller, "/api/chat", **body)
    assert "".join(line["message"]["content"] for line in lines) == '{"city": "'
    assert not any("tool_calls" in line["message"] for line in lines)
    assert lines[-1]["done_reason"] == whole["done_reason"] == "length"


async def test_a_result_goes_back_to_its_call_without_ids(caller: Served) -> None:
    asked = user("the weather?")
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Bonn"}}}]}
    result = {"role": "tool", "tool_name": "weather", "content": "Rain."}
    reply = await chat(caller, messages=[*asked, called, result], tools=[WEATHER])
    assert reply["message"]["content"] == "It says: Rain."


async def test_log_probabilities_are_told_at_each_place(echo: Served) -> None:
    reply = await chat(echo, messages=user("hi"), logprobs=True, top_logprobs=1)
    first = reply["logprobs"][0]
    assert first == {
        "token": "h",
        "logprob": 0.0,
        "bytes": [104],
        "top_logprobs": [{"token": "h", "logprob": 0.0, "bytes": [104]}],
    }
    lines = await stream_lines(echo, "/api/chat", model="echo", messages=user("hi"), logprobs=True)
    assert [line["logprobs"][0]["token"] for line in lines[:2]] == ["h", "i"]
    assert "top_logprobs" not in lines[0]["logprobs"][0]


async def test_a_last_message_of_the_assistant_is_gone_on_with(echo: Served) -> None:
    messages = [*user("hello"), {"role": "assistant", "content": "he"}]
    begun = (await chat(echo, messages=messages))["prompt_eval_count"]
    # Neither the end of its turn nor the beginning of another one stands in the prompt.
    assert begun == (await chat(echo))["prompt_eval_count"] + len("he")


async def test_the_oldest_turns_of_too_long_a_conversation_are_left_out(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ModelSettings(slots=1, ctx_size=256))) as served:
        turns = [*user("x" * 100), {"role": "assistant", "content": "y" * 100}]
        messages = [{"role": "system", "content": "brief"}, *turns, *turns, *user("hello")]
        response = await served.http.post("/api/chat", json={"model": "echo", "messages": messages, "stream": False})
        assert response.json()["message"]["content"] == "hello"
        assert response.headers["x-benchtop-dropped-messages"] == "4"
        assert response.json()["prompt_eval_count"] > len("brief") + len("hello")
        whole = {"model": "echo", "messages": messages, "stream": False, "truncate": False}
        assert (await served.http.post("/api/chat", json=whole)).status_code == 400
        alone = await served.http.post("/api/chat", json={"model": "echo", "messages": user("z" * 300)})
        assert (alone.status_code, "context holds 256" in alone.json()["error"]) == (400, True)


async def test_a_failure_amid_a_stream_is_a_line_of_its_own(echo: Served) -> None:
    response = await echo.http.post(
        "/api/chat", json={"model": "echo", "messages": user("x"), "format": {"type": "no such type"}}
    )
    assert response.status_code == 400
    assert "format" in response.json()["error"]


async def test_while_its_model_loads_a_stream_is_kept_alive_without_a_line_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path, QUICK, model=None, ping=0.001) as served:
        asked = {"model": "guide", "messages": user("hello"), "options": {"num_predict": 2}}
        text = (await served.http.post("/api/chat", json=asked)).text
        assert text.startswith(" ")
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines[-1]["done"]
        assert 0 < lines[-1]["load_duration"] < lines[-1]["total_duration"]
