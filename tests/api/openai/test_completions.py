"""Text completions as the openai SDK meets them: prompts as they stand, several at once, echoed, with a gap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion

from core.settings.schema import QueueSettings
from tests.api.conftest import ENDLESS, Served, serving, settings_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def complete(served: Served, **fields: object) -> Completion:
    create: Any = served.client.completions.create
    reply = await create(**{"model": "echo", "prompt": "hello", "max_tokens": 64} | fields)
    assert isinstance(reply, Completion)
    return reply


async def chunks(served: Served, **fields: object) -> list[Completion]:
    create: Any = served.client.completions.create
    stream = await create(**{"model": "echo", "prompt": "hello", "max_tokens": 64, "stream": True} | fields)
    return [chunk async for chunk in stream]


async def post(served: Served, **fields: object) -> dict[str, Any]:
    response = await served.http.post("/v1/completions", json={"model": "echo", "prompt": "hello"} | fields)
    body: dict[str, Any] = response.json()
    return body | {"status": response.status_code}


async def logprobs_of(served: Served, **fields: object) -> dict[int, dict[str, list[object]]]:
    """Of each choice, whether it came whole or in chunks."""
    text = (await served.http.post("/v1/completions", json={"model": "echo"} | fields)).text
    told: dict[int, dict[str, list[object]]] = {}
    for frame in text.removesuffix("data: [DONE]\n\n").strip().split("\n\n"):
        for choice in json.loads(frame.removeprefix("data: "))["choices"]:
            for name, values in (choice["logprobs"] or {}).items():
                told.setdefault(choice["index"], {}).setdefault(name, []).extend(values)
    return told


def texts(parts: list[Completion]) -> dict[int, str]:
    said: dict[int, str] = {}
    for part in parts:
        for choice in part.choices:
            said[choice.index] = said.get(choice.index, "") + choice.text
    return said


async def test_a_prompt_is_gone_on_with_as_it_stands(echo: Served) -> None:
    reply = await complete(echo)
    assert (reply.object, reply.model, reply.choices[0].text) == ("text_completion", "echo", "hello")
    assert (reply.choices[0].finish_reason, reply.choices[0].logprobs) == ("stop", None)
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 6)


async def test_a_stream_says_the_same_and_ends_with_done(echo: Served) -> None:
    parts = await chunks(echo)
    assert texts(parts) == {0: "hello"}
    assert [part.choices[0].finish_reason for part in parts][-2:] == [None, "stop"]
    response = await echo.http.post("/v1/completions", json={"model": "echo", "prompt": "x", "stream": True})
    assert response.text.endswith("data: [DONE]\n\n")


async def test_without_a_limit_sixteen_tokens_are_written(echo: Served) -> None:
    body = await post(echo, prompt="a" * 40)
    assert (body["choices"][0]["text"], body["choices"][0]["finish_reason"]) == ("a" * 16, "length")
    assert (await post(echo, prompt="a" * 40, max_tokens=-1))["choices"][0]["text"] == "a" * 40


async def test_each_prompt_of_a_list_has_its_choices_numbered_on_from_the_last_ones(echo: Served) -> None:
    reply = await complete(echo, prompt=["one", "two", "three"], n=2)
    assert [(choice.index, choice.text) for choice in reply.choices] == [
        *((0, "one"), (1, "one"), (2, "two"), (3, "two"), (4, "three"), (5, "three"))
    ]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3 + 3 + 5, 2 * (4 + 4 + 6))
    assert texts(await chunks(echo, prompt=["one", "two"])) == {0: "one", 1: "two"}


async def test_a_long_list_takes_turns_in_a_short_queue(tmp_path: Path) -> None:
    settings = settings_of(queue=QueueSettings(max_queue=2))
    async with serving(tmp_path, settings) as served:
        reply = await complete(served, prompt=[f"prompt {number}" for number in range(40)])
    assert [choice.text for choice in reply.choices] == [f"prompt {number}" for number in range(40)]


async def test_token_ids_are_prompts_too(echo: Served) -> None:
    assert (await complete(echo, prompt=[104, 105])).choices[0].text == "hi"
    reply = await complete(echo, prompt=[[104, 105], [111, 107]])
    assert [choice.text for choice in reply.choices] == ["hi", "ok"]


async def test_an_echo_begins_each_choice_with_its_prompt(echo: Served) -> None:
    reply = await complete(echo, prompt=["ab", "cd"], echo=True)
    assert [choice.text for choice in reply.choices] == ["abab", "cdcd"]
    assert texts(await chunks(echo, prompt=[[104, 105]], echo=True)) == {0: "hihi"}


async def test_log_probabilities_are_four_lists_of_one_length(echo: Served) -> None:
    told = (await complete(echo, prompt="né", logprobs=1)).choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.token_logprobs == [0.0] * len(told.tokens)
    assert told.top_logprobs is not None
    assert (told.tokens[0], told.top_logprobs[0]) == ("n", {"n": 0.0})
    assert told.text_offset == list(range(len(told.tokens)))
    streamed = [part.choices[0].logprobs for part in await chunks(echo, prompt="ab", logprobs=0)]
    assert [(each.tokens, each.text_offset) for each in streamed if each] == [(["a"], [0]), (["b"], [1])]


async def test_with_an_echo_the_prompts_tokens_have_their_log_probabilities_too(echo: Served) -> None:
    for fields in ({}, {"stream": True}):
        body = {"prompt": ["abc", [100, 101]], "echo": True, "logprobs": 1, "max_tokens": 2, "n": 2} | fields
        told = await logprobs_of(echo, **body)
        assert told[0] == told[1]
        assert told[0]["tokens"] == [*"abcab"]
        assert told[2]["tokens"] == [*"dede"]
        # The first token follows nothing.
        assert told[0]["token_logprobs"] == [None, 0.0, 0.0, 0.0, 0.0]
        assert told[0]["top_logprobs"] == [None, {"b": 0.0}, {"c": 0.0}, {"a": 0.0}, {"b": 0.0}]
        assert told[0]["text_offset"] == [0, 1, 2, 3, 4]


async def test_with_no_new_tokens_a_prompt_is_scored_and_echoed_alone(echo: Served) -> None:
    reply = await complete(echo, prompt=["abc", "d"], echo=True, logprobs=0, max_tokens=0)
    assert [(choice.text, choice.finish_reason) for choice in reply.choices] == [("abc", "length"), ("d", "length")]
    assert [choice.logprobs.tokens for choice in reply.choices if choice.logprobs] == [["a", "b", "c"], ["d"]]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (4, 0)
    assert (await complete(echo, prompt="abc", max_tokens=0)).choices[0].text == ""


async def test_usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for(echo: Served) -> None:
    parts = await chunks(echo, prompt=["ab", "cd"], stream_options={"include_usage": True})
    assert all(part.usage is None for part in parts[:-1])
    assert parts[-1].choices == []
    assert parts[-1].usage is not None
    assert parts[-1].usage.total_tokens == 2 * (2 + 3)


async def test_a_stop_cuts_the_text_before_it(echo: Served) -> None:
    assert (await complete(echo, prompt="one, two", stop=[","])).choices[0].text == "one"


async def test_a_form_holds_for_a_bare_prompt(echo: Served) -> None:
    text = (await post(echo, prompt="no json", json_schema={"type": "integer"}, max_tokens=20))["choices"][0]["text"]
    assert isinstance(json.loads(text), int)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": ["a"] * 1025}, "prompt"),
        ({"prompt": [[300]]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": "a" * 9000}, "prompt"),
        ({"prompt": "a" * 3_000_000}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"echo": True, "logprobs": 1, "suffix": "end"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"suffix": "end"}, "suffix"),
        ({"suffix": "end", "prompt": [1]}, "suffix"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "messages"),
        ({"n": 10**9}, "n"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"best_of": 3}, "best_of"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_field(echo: Served, fields: dict[str, object], named: str) -> None:
    body = await post(echo, **fields)
    assert (body["status"], body["error"]["param"]) == (400, named)


async def test_a_prompt_that_fails_ends_those_beside_it(echo: Served) -> None:
    body = await post(echo, prompt=[[104], [300]])
    assert (body["status"], body["error"]["param"]) == (400, "prompt")
    response = await echo.http.post("/v1/completions", json={"model": "echo", "prompt": [[104], [300]], "stream": True})
    # Whether the first one had begun when the second one failed decides whether that is an event or the reply.
    told = response.text.removesuffix("\n\ndata: [DONE]\n\n").split("\n\n")[-1]
    assert "between 0 and 257" in json.loads(told.removeprefix("data: "))["error"]["message"]


async def test_a_client_that_leaves_frees_the_seats_of_all_its_prompts(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        body = {"model": "echo", "prompt": ["a"] * 9, "stream": True, "ignore_eos": True, "max_tokens": -1}
        async with served.http.stream("POST", "/v1/completions", json=body) as response:
            await anext(response.aiter_lines())

        async def idle() -> bool:
            return not (await served.http.get("/v1/requests")).json()["requests"]

        await until(idle)
