"""What an answer must be, by every field that clients say it with."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from tests.api.conftest import Served, text_of, user

pytestmark = pytest.mark.asyncio(loop_scope="session")

POINT: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["x", "y"],
    "additionalProperties": False,
}
SAID = '{"x": 1, "y": 2} and more'
WRITTEN = '{"x": 1, "y": 2}'


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_object", "schema": POINT}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": POINT, "strict": True}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": POINT, "description": None}}},
        {"json_schema": POINT},
        {"grammar": 'root ::= "{" [^}]* "}"'},
        {"guided_json": POINT},
        {"guided_json": json.dumps(POINT)},
        {"guided_json_object": True},
        {"guided_regex": r"\{[^}]*\}"},
        {"guided_choice": [WRITTEN, "nothing"]},
        {"guided_grammar": 'start: "{" /[^}]*/ "}"'},
        {"structured_outputs": {"json": POINT, "disable_fallback": False}},
        {"structured_outputs": {"choice": [WRITTEN]}},
        {"structured_outputs": {"regex": r"\{[^}]*\}", "json": None}},
        {"regex": r"\{[^}]*\}"},
        {"ebnf": 'root ::= "{" [^}]* "}"'},
        {"format": "json"},
        {"format": POINT},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
async def test_an_answer_is_held_to_what_a_field_says_streamed_or_not(echo: Served, fields: dict[str, Any]) -> None:
    response = await echo.chat(messages=user(SAID), **fields)
    assert response.status_code == 200, response.text
    assert "x-benchtop-ignored" not in response.headers
    (choice,) = response.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (WRITTEN, "stop")
    streamed = await echo.http.post(
        "/v1/chat/completions", json={"model": "echo", "messages": user(SAID), "stream": True, **fields}
    )
    chunks = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == WRITTEN


async def test_prose_becomes_json_where_json_is_asked_for(echo: Served) -> None:
    reply = await echo.complete(response_format={"type": "json_object"}, messages=user("I would rather chat."))
    assert isinstance(json.loads(reply.choices[0].message.content or ""), dict)


async def test_the_sdk_parses_into_a_model_of_its_own(echo: Served) -> None:
    class Step(BaseModel):
        action: str
        count: int | None

    class Plan(BaseModel):
        steps: list[Step]

    plan = Plan(steps=[Step(action="look", count=2), Step(action="leap", count=None)])
    parsed = await echo.client.chat.completions.parse(
        model="echo", messages=[{"role": "user", "content": plan.model_dump_json()}], response_format=Plan
    )
    assert parsed.choices[0].message.parsed == plan


async def test_every_choice_is_held_to_it_and_logprobs_are_told(echo: Served) -> None:
    reply = await echo.complete(messages=user(SAID), n=3, logprobs=True, response_format={"type": "json_object"})
    for choice in reply.choices:
        assert choice.message.content == WRITTEN
        assert choice.logprobs is not None
        assert "".join(token.token for token in choice.logprobs.content or []) == WRITTEN


async def test_the_limit_is_told_as_length(echo: Served) -> None:
    chunks = await echo.chunks(messages=user(SAID), max_tokens=4, response_format={"type": "json_object"})
    assert text_of(chunks) == WRITTEN[:4]
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type", "text, json_object, json_schema"),
        ({"response_format": {}, "json_schema": 5}, "json_schema", "must be a JSON object"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "needs its schema"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= [a]"}, "grammar", "send one of them"),
        ({"json_schema": {"type": "array", "uniqueItems": True}}, "json_schema", "keyword `uniqueItems` cannot"),
        ({"json_schema": {"properties": {"a": {"not": {}}}}}, "json_schema", "keyword `not` at properties.a"),
        ({"json_schema": {"type": "string", "pattern": "(?=a)"}}, "json_schema", "`pattern`"),
        ({"json_schema": {"$ref": "https://example.org/x"}}, "json_schema", "keyword `$ref`"),
        ({"guided_regex": "("}, "guided_regex", "regular expression cannot be enforced"),
        ({"grammar": "root ::= nosuch"}, "grammar", "Rule 'nosuch' not found"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "structural_tag"),
        ({"guided_json": "{"}, "guided_json", "is no JSON"),
    ],
)
async def test_what_cannot_be_enforced_is_a_400_that_names_field_and_keyword(
    echo: Served, fields: dict[str, Any], param: str, words: str
) -> None:
    for stream in (False, True):
        response = await echo.chat(stream=stream, **fields)
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert (error["param"], error["type"]) == (param, "invalid_request_error")
        assert words in error["message"]


async def test_a_hostile_schema_is_refused_while_a_bystander_is_served(echo: Served) -> None:
    doubling: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    hostile = {"$defs": doubling | {"d40": {"type": "string", "pattern": "a"}}, "$ref": "#/$defs/d0"}
    refused = asyncio.create_task(echo.chat(json_schema=hostile))
    for _ in range(3):
        reply = await echo.complete(messages=user(SAID), response_format={"type": "json_object"})
        jsonschema.validate(json.loads(reply.choices[0].message.content or ""), POINT)
    response = await refused
    assert response.status_code == 400
    assert "`json_schema` cannot be used. Compiling it " in response.json()["error"]["message"]
