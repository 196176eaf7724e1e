"""What clients get wrong: one sentence that names the field, the OpenAI error body, and nothing else is disturbed."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.api.conftest import Served, chat_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

USER = {"role": "user", "content": "hello"}


def tool(name: str, **fields: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, **fields}}


def call(name: str, arguments: object = "{}") -> dict[str, object]:
    return {"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}}


ARGUMENTS = "messages[0].tool_calls[0].function.arguments"

WRONG_FIELDS = [
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 10**400}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": -1}, "min_p"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"repeat_last_n": -2}, "repeat_last_n"),
    ({"repeat_last_n": 2**31 - 1, "presence_penalty": 1}, "repeat_last_n"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -2}, "max_tokens"),
    ({"n_predict": 0}, "n_predict"),
    ({"max_tokens": "8"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"seed": 8.5}, "seed"),
    ({"temperature": "0.7"}, "temperature"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": True}, "n"),
    ({"seed": 2**63}, "seed"),
    ({"stop": ["a", None]}, "stop[1]"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": 5}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"usage": True}}, "stream_options.usage"),
    ({"logit_bias": {"65": 101}}, "logit_bias"),
    ({"logit_bias": {"A": True}}, "logit_bias"),
    ({"logit_bias": [[1, 2, 3]]}, "logit_bias[0]"),
    ({"logit_bias": [[-1, 2]]}, "logit_bias[0][0]"),
    ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": "x", "colour": "red"}]}, "messages[0].colour"),
    ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"model": 5}, "model"),
    ({"temprature": 1}, "temprature"),
    ({"chat_template_kwargs": {"messages": "x"}}, "chat_template_kwargs.messages"),
    ({"chat_template_kwargs": {"add_generation_prompt": False}}, "chat_template_kwargs.add_generation_prompt"),
    ({"chat_template_kwargs": {"a b": 1}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"a": {"b": 1}}}, "chat_template_kwargs"),
    ({"tools": 5}, "tools"),
    ({"tools": [5]}, "tools[0]"),
    ({"tools": [{"name": "f"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [tool("")]}, "tools[0].function.name"),
    ({"tools": [tool("a b")]}, "tools[0].function.name"),
    ({"tools": [tool("f\n")]}, "tools[0].function.name"),
    ({"tools": [tool("f" * 1_000_000)]}, "tools[0].function.name"),
    ({"tools": [tool("f", parameters=5)]}, "tools[0].function.parameters"),
    ({"tools": [tool("f", parameters="{}")]}, "tools[0].function.parameters"),
    ({"tools": [tool("f", strict="yes")]}, "tools[0].function.strict"),
    ({"tools": [tool("f", shape=1)]}, "tools[0].function.shape"),
    ({"tools": [tool("f"), tool("f", description="another")]}, "tools[1].function.name"),
    ({"tools": [tool("f")], "tool_choice": "perhaps"}, "tool_choice"),
    ({"tools": [tool("f")], "tool_choice": 5}, "tool_choice"),
    ({"tools": [tool("f")], "tool_choice": {"type": "function"}}, "tool_choice"),
    ({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [tool("f")], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    (
        {"tools": [tool("f")], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [tool("g")]}}},
        "tool_choice.allowed_tools.tools[0]",
    ),
    (
        {
            "tools": [tool("f")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}},
        },
        "tool_choice.allowed_tools.tools",
    ),
    ({"tools": [tool("f")], "functions": [{"name": "f"}]}, "functions"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
    ({"functions": [{"name": "f"}], "function_call": "perhaps"}, "function_call"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "messages[0].tool_calls[0].function"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [call("f")]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [call("f", 5)]}]}, ARGUMENTS),
    ({"messages": [{"role": "assistant", "tool_calls": [call("")]}]}, "messages[0].tool_calls[0].function.name"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 5}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "content": "x", "reasoning_content": 5}]}, "messages[0].reasoning_content"),
    ({"reasoning": {"effort": 5}}, "reasoning.effort"),
    ({"reasoning": {"max_tokens": 10**10}}, "reasoning.max_tokens"),
    ({"reasoning": {"deep": True}}, "reasoning.deep"),
    ({"reasoning_budget": -2}, "reasoning_budget"),
    ({"reasoning_format": "xml"}, "reasoning_format"),
    ({"thinking": {"type": "maybe"}}, "thinking.type"),
    ({"thinking_token_budget": 1.5}, "thinking_token_budget"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"add_generation_prompt": "no"}, "add_generation_prompt"),
]

UNSUPPORTED = [
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"function_call": {"name": "f"}}, "function_call"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        "messages[0].content[0]",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "messages[0].content[0]",
    ),
]

BROKEN_BODIES = {
    "nothing": b"",
    "half": b'{"model": "echo", "mess',
    "not an object": b"[1, 2]",
    "NaN": b'{"model": "echo", "messages": [], "temperature": NaN}',
    "Infinity": b'{"model": "echo", "messages": [], "temperature": Infinity}',
    "a number beyond any float": b'{"model": "echo", "messages": [], "temperature": 1e999}',
    "invalid UTF-8": b'{"model": "echo\xff", "messages": []}',
    "half a surrogate pair": b'{"model": "\\ud800", "messages": []}',
    "a nesting bomb in a field": b'{"tools": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a nesting bomb in an ignored field": b'{"metadata": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
    "a byte order mark": b'\xef\xbb\xbf{"model": "echo", "messages": []}',
    "trailing words": b'{"model": "echo"} and more',
}


@pytest.mark.parametrize(
    ("fields", "param"), WRONG_FIELDS, ids=[f"{param}-{i}" for i, (_, param) in enumerate(WRONG_FIELDS)]
)
async def test_a_wrong_field_is_named(echo: Served, fields: dict[str, object], param: str) -> None:
    response = await echo.chat(**fields)
    error = response.json()["error"]
    assert response.status_code == 400, response.text
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param.rpartition(".")[2] in error["message"]


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED, ids=[param for _, param in UNSUPPORTED])
async def test_what_would_change_the_answer_is_refused_by_name(
    echo: Served, fields: dict[str, object], param: str
) -> None:
    response = await echo.chat(**fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("name", BROKEN_BODIES)
async def test_a_broken_body_is_a_bad_request(echo: Served, name: str) -> None:
    response = await echo.http.post("/v1/chat/completions", content=BROKEN_BODIES[name])
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("missing", ["messages"])
async def test_a_missing_field_is_named(echo: Served, missing: str) -> None:
    body = chat_body()
    del body[missing]
    response = await echo.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": f"The field `{missing}` is missing.",
        "type": "invalid_request_error",
        "param": missing,
        "code": None,
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"top_p": 2}, "`top_p` is wrong: it is too large; at most 1."),
        ({"stop": 5}, "`stop` is wrong: expected a text or a list, got a whole number."),
        ({"messages": []}, "`messages` is wrong: it is too short; at least 1 item."),
        ({"guided_choice": "yes"}, "`guided_choice` is wrong: expected a list, got a text."),
        (
            {"tools": [tool("a b")]},
            "`tools[0].function.name` is wrong: it has characters that may not stand there, or none; the pattern is ",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "words", "text": "a"}]}]},
            "`messages[0].content[0].type` is wrong: it is none of text",
        ),
    ],
)
async def test_a_wrong_value_is_told_in_words_of_json(echo: Served, fields: dict[str, object], said: str) -> None:
    assert said in (await echo.chat(**fields)).json()["error"]["message"]


async def test_a_mistyped_field_gets_a_suggestion(echo: Served) -> None:
    response = await echo.chat(temprature=1)
    assert "did you mean `temperature`?" in response.json()["error"]["message"]


async def test_an_unknown_path_and_a_wrong_method_get_the_error_body(echo: Served) -> None:
    for response, status in (
        (await echo.http.get("/v1/nothing"), 404),
        (await echo.http.put("/v1/models"), 405),
        (await echo.http.get("/v1/chat/completions"), 405),
    ):
        assert response.status_code == status
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}
        assert response.headers["x-request-id"]


async def test_bytes_that_are_no_http_do_not_disturb_the_server(echo: Served) -> None:
    reader, writer = await echo.raw()
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00 hello?\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert (await echo.chat()).status_code == 200


async def test_after_all_that_the_server_still_answers(echo: Served) -> None:
    bombs = [echo.http.post("/v1/chat/completions", content=body) for body in BROKEN_BODIES.values()]
    answers = await asyncio.gather(echo.chat(), *bombs)
    assert answers[0].json()["choices"][0]["message"]["content"] == "hello"
    assert json.loads(answers[-1].content)["error"]
