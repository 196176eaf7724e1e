"""Fields that clients of other servers send: taken, dropped and told, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.openai import fields as known
from api.openai.chat import BODY, translate_request
from core.requests import ReasoningWish
from core.settings.model import ModelSettings
from tests.api.conftest import Served, chat_body, serving, settings_of, text_of, user

pytestmark = pytest.mark.asyncio(loop_scope="session")

IGNORED = "x-benchtop-ignored"
PART = "messages[0].content[0].bold"

NEUTRAL: list[dict[str, object]] = [
    {"grammar": None},
    {"grammar": ""},
    {"mirostat": 0, "mirostat_tau": None},
    {"mirostat": 0.0},
    {"guided_json": None, "guided_regex": None, "guided_choice": [], "guided_grammar": ""},
    {"structured_outputs": {"json": None, "regex": None}, "guided_json": {"schema": None}, "unheard_of": {"a": None}},
    {"add_generation_prompt": True, "continue_final_message": False},
    {"skip_special_tokens": True, "spaces_between_special_tokens": True},
    {"include_stop_str_in_output": False, "min_tokens": 0, "length_penalty": 1, "early_stopping": False},
    {"use_beam_search": False, "best_of": 1, "prompt_logprobs": None, "echo": False},
    {"n": 2, "best_of": 2},
    {"options": {}, "format": None, "truncate": None, "think": None, "priority": 0},
    {"dynatemp_range": 0, "dry_multiplier": 0.0, "xtc_probability": 0, "tfs_z": 1, "top_n_sigma": -1},
    {"typical_p": 1, "repetition_penalty": 1.0},
    {"logit_bias": {}},
    {"logit_bias": []},
    {"response_format": {"type": "text"}},
    {"response_format": {}},
    {"response_format": None},
    {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
    {"tools": None, "tool_choice": {}, "function_call": ""},
    {"parallel_tool_calls": True, "reasoning": {}, "thinking": {}, "reasoning_format": "auto"},
    {"reasoning_budget": -1, "thinking_budget": -1, "include_reasoning": True, "separate_reasoning": True},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": None, "unheard_of": None}},
    {"stop": []},
    {"stop": ""},
    {"stop": [""]},
    {"service_tier": "auto", "store": False, "metadata": {}, "user": ""},
    {"max_tokens": -1},
    {"max_tokens": None, "max_completion_tokens": -1, "n_predict": -1.0},
    {"max_tokens": 40.0, "seed": 42.0, "top_k": 40.0, "n": 1.0},
    {"max_tokens": 4e1},
    {"ignore_eos": True, "max_tokens": 5, "min_tokens": 5},
    {"nobody_knows": None},
    {"nobody_knows": []},
    {"nobody_knows": {}, "nor_this": False, "nor_that": 0, "and_this": ""},
    {"model": None},
    {"model": ""},
    {"modalities": ["text"], "audio": None},
]

DROPPED: list[tuple[dict[str, object], set[str]]] = [
    ({"user": "ann", "metadata": {"a": "b"}, "store": True}, {"user", "metadata", "store"}),
    ({"service_tier": "scale", "prompt_cache_key": "k"}, {"service_tier", "prompt_cache_key"}),
    ({"keep_alive": "5m", "ttl": 60, "draft_model": "x"}, {"keep_alive", "ttl", "draft_model"}),
    ({"id_slot": 3, "n_keep": -1}, {"id_slot", "n_keep"}),
    ({"max_tokens": 5, "n_predict": 6}, {"n_predict"}),
    ({"think": True, "enable_thinking": False}, {"think", "enable_thinking"}),
    ({"think": "low", "reasoning": {"effort": "high"}}, {"think", "reasoning.effort"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 9}}, {"thinking.type", "thinking.budget_tokens"}),
    ({"tools": [{"type": "function", "function": {"name": "f", "title": "F"}}]}, {"tools", "tools.function.title"}),
    ({"functions": [{"name": "f"}]}, {"functions"}),
    ({"logit_bias": {"65": 1, "999999": -100}}, {"logit_bias"}),
    ({"tools": [{"type": "web_search"}]}, {"tools"}),
    ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}, {"tools"}),
    ({"web_search_options": {}}, {"web_search_options"}),
    ({"prediction": {"type": "content", "content": "x" * 5000}}, {"prediction"}),
    ({"reasoning_effort": "low"}, {"reasoning_effort"}),
    ({"think": True}, {"think"}),
    ({"stream_options": {"include_obfuscation": True}}, {"stream_options.include_obfuscation"}),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"a": 1}}]}]},
        {"messages.content.cache_control"},
    ),
    (
        {
            "messages": [
                {"role": "assistant", "content": "x", "phase": "x", "tool_calls": [], "refusal": None},
                {"role": "user", "content": "hello", "function_call": None, "name": None, "tool_call_id": "1"},
            ]
        },
        {"messages.phase"},
    ),
]

REFUSED: list[tuple[dict[str, object], str]] = [
    ({"temprature": 0.7}, "temprature"),
    ({"nobody_knows": [0]}, "nobody_knows"),
    ({"nobody_knows": "x" * 100_000}, "nobody_knows"),
    ({"mirostat": 2}, "mirostat"),
    ({"mirostat": False}, "mirostat"),
    ({"skip_special_tokens": False}, "skip_special_tokens"),
    ({"add_generation_prompt": True, "continue_final_message": True}, "add_generation_prompt"),
    ({"messages": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
    ({"reasoning_format": "deepseek-new"}, "reasoning_format"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"echo": True}, "echo"),
    ({"best_of": 3}, "best_of"),
    ({"min_tokens": 5}, "min_tokens"),
    ({"options": {"temperature": 0}}, "options"),
    ({"reasoning_effort": 3}, "reasoning_effort"),
    ({"reasoning_effort": "x" * 33}, "reasoning_effort"),
    ({"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}}, "reasoning_effort"),
    ({"messages": [{"role": "user", "content": "x", "prefix": True}]}, "messages[0].prefix"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "bold": 1}]}]}, PART),
    ({"tools": [{"name": "f"}]}, "tools[0].type"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"stream_options": {"continuous_usage": True}}, "stream_options.continuous_usage"),
]


@pytest.mark.parametrize("fields", NEUTRAL, ids=[json.dumps(each)[:60] for each in NEUTRAL])
async def test_a_value_that_asks_for_what_happens_anyway_is_taken(echo: Served, fields: dict[str, object]) -> None:
    response = await echo.chat(**fields)
    assert response.status_code == 200, response.text
    assert IGNORED not in response.headers
    assert response.json()["model"] == "echo"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("fields", "named"), DROPPED, ids=[", ".join(sorted(named)) for _, named in DROPPED])
async def test_what_cannot_change_the_answer_is_dropped_and_told(
    echo: Served, fields: dict[str, object], named: set[str], streamed: bool
) -> None:
    response = await echo.chat(stream=streamed, **fields)
    assert response.status_code == 200, response.text
    assert set(response.headers[IGNORED].split(", ")) == named


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=[param for _, param in REFUSED])
async def test_what_would_change_the_answer_is_refused_by_its_name(
    echo: Served, fields: dict[str, object], param: str
) -> None:
    response = await echo.chat(**fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_no_client_writes_the_header_and_it_has_an_end(echo: Served) -> None:
    dropped = [name for name, rule in known.CHAT.items() if rule.told]
    odd = {"evil\r\nset-cookie: x": "", "é" * 10: None}
    response = await echo.chat(**dict.fromkeys(dropped, "something"), **odd)
    assert response.status_code == 200, response.text
    told = response.headers[IGNORED]
    assert told.isascii()
    assert told.isprintable()
    assert told.endswith(f"and {len(dropped) - 40} more")
    assert "evil" not in told


async def test_a_field_that_the_template_reads_is_not_told_as_ignored(guide: Served) -> None:
    response = await guide.chat(model="guide", max_tokens=1, chat_template_kwargs={"unread": 1}, user="u")
    assert response.headers[IGNORED] == "user"
    body = BODY.decode(json.dumps(chat_body(reasoning_effort="high", think=False)).encode()).body
    assert translate_request(body).reasoning == ReasoningWish(think=False, effort="high")


async def test_usage_so_far_stands_in_each_chunk_when_asked_for(echo: Served) -> None:
    chunks = await echo.chunks(
        stream_options={"include_usage": True, "continuous_usage_stats": True}, messages=user("count")
    )
    usages = [chunk.usage for chunk in chunks]
    assert all(usage is not None for usage in usages)
    drawn = [usage.completion_tokens for usage in usages if usage is not None]
    assert drawn[0] == 0
    assert drawn == sorted(drawn)
    assert drawn[-1] == len("count") + 1
    assert len({usage.prompt_tokens for usage in usages if usage is not None}) == 1
    assert text_of(chunks) == "count"


async def test_usage_so_far_adds_up_over_choices(echo: Served) -> None:
    chunks = await echo.chunks(n=2, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2 * (len("hello") + 1)
    assert chunks[-2].usage == chunks[-1].usage


async def test_timings_stand_in_each_chunk_of_text_when_asked_for(echo: Served) -> None:
    chunks = [chunk.to_dict() for chunk in await echo.chunks(extra_body={"timings_per_token": True})]
    drawn = [chunk["timings"]["predicted_n"] for chunk in chunks if "timings" in chunk]  # type: ignore[index]
    assert drawn == [1, 2, 3, 4, 5, 6]
    assert not any("timings" in chunk.to_dict() for chunk in (await echo.chunks())[:-1])


async def test_the_chunk_of_usage_carries_timings(echo: Served) -> None:
    last = (await echo.chunks(stream_options={"include_usage": True}))[-1].to_dict()
    assert last["choices"] == []
    assert last["timings"]["predicted_n"] == len("hello") + 1  # type: ignore[index]


async def test_the_computing_of_a_prompt_is_told_from_nothing_to_the_whole(tmp_path: Path) -> None:
    settings = settings_of(model=ModelSettings(batch=32))
    async with serving(tmp_path, settings) as served:
        asked: dict[str, object] = {"messages": user("x" * 300), "extra_body": {"return_progress": True}}
        chunks = [chunk.to_dict() for chunk in await served.chunks(**asked)]
        again = [chunk.to_dict() for chunk in await served.chunks(**asked)]
    progress: list[Any] = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    computed = [each["processed"] for each in progress]
    assert computed[0] == 0
    assert computed == sorted(computed)
    assert len(computed) > 5
    assert computed[-1] == progress[-1]["total"] > 300
    assert [each["time_ms"] for each in progress] == sorted(each["time_ms"] for each in progress)
    cached: Any = next(chunk["prompt_progress"] for chunk in again if "prompt_progress" in chunk)
    assert cached["processed"] == cached["cache"] > 300
    assert not any("prompt_progress" in chunk for chunk in chunks[-10:])


async def test_progress_is_told_to_streams_alone(echo: Served) -> None:
    response = await echo.chat(return_progress=True, timings_per_token=True)
    assert response.status_code == 200
    assert "prompt_progress" not in response.text


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
async def test_paths_without_the_version_answer(echo: Served, path: str) -> None:
    assert (await echo.http.post(path, json=chat_body())).status_code == 200


async def test_models_are_found_without_the_version(echo: Served) -> None:
    assert (await echo.http.get("/models")).json() == (await echo.http.get("/v1/models")).json()
    assert (await echo.http.get("/models/echo")).json()["id"] == "echo"
    assert (await echo.http.put("/models")).status_code == 405


async def test_with_several_models_and_no_default_the_model_must_be_named(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.workbench.models.load("guide")
        body = chat_body()
        del body["model"]
        error = (await served.http.post("/v1/chat/completions", json=body)).json()["error"]
        assert error["param"] == "model"
        assert "echo" in error["message"]
        assert "guide" in error["message"]
        await served.workbench.models.serve(["guide"])
        answer = await served.http.post("/v1/chat/completions", json=body | {"max_tokens": 1})
        assert answer.json()["model"] == "guide"


async def test_a_reproducible_answer_is_given_by_a_model_loaded_for_it_and_refused_by_others(tmp_path: Path) -> None:
    settings = settings_of(model=ModelSettings(engine="llamacpp", ctx_size=512, slots=1, extra_buffers=False))
    async with serving(tmp_path, settings, model=None) as served:
        for load, status in (({}, 400), ({"reproducible": True}, 200)):
            loaded = await served.http.post("/v1/models/load", json={"model": "guide", **load})
            assert loaded.status_code == 200, loaded.text
            response = await served.chat(model="guide", max_tokens=2, reproducible=True)
            assert response.status_code == status, response.text
            assert (await served.chat(model="guide", max_tokens=2, reproducible=False)).status_code == 200
            if status == 400:
                assert response.json()["error"]["param"] == "reproducible"
                assert "--reproducible" in response.json()["error"]["message"]
