"""Calls of tools that are asked for cannot come out wrong, whatever the model would write."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from core.errors import RequestError
from core.events import FinishReason
from core.requests import Calling, CallOf, Constraint, JsonObject, JsonSchema, ReasoningWish, Tool
from core.settings.schema import AnswerSettings
from tests.core.serving.test_answers import CALL, NOW, asks_tools, reply_of, serving

WHEN = Tool(
    "when",
    parameters='{"type":"object","properties":{"at":{"enum":["noon"]}},"required":["at"],"additionalProperties":false}',
)
STRICT = Tool("when", parameters=WHEN.parameters, strict=True)
ODD = Tool("odd", parameters='{"type":"object","properties":{"a":{"not":{}}}}')
UNTHINKING = {"template_arguments": {"enable_thinking": False}}
WRONG = '<tool_call>\n{"name": "when", "arguments": {"at": "night", "why": 5}}\n</tool_call>'


@pytest.mark.parametrize("said", ["I would rather chat.", "<tool_call>oops", WRONG, "<think>hm</think>\n\nNo."])
@pytest.mark.parametrize("choice", [Calling.REQUIRED, CallOf("when")], ids=str)
async def test_a_call_that_is_asked_for_comes_and_keeps_to_its_schema(said: str, choice: Calling | CallOf) -> None:
    async with serving(lambda _: said) as host:
        request = asks_tools("x", WHEN, tool_choice=choice, template_arguments={"enable_thinking": "<think>" in said})
        (reply,) = (await reply_of(host, request)).choices
        assert (reply.text, reply.reason) == ("", FinishReason.TOOL_CALLS)
        assert reply.reasoning == ("hm" if "hm" in said else "")
        (call,) = reply.tool_calls
        assert (call.name, json.loads(call.arguments)) == ("when", {"at": "noon"})


@pytest.mark.parametrize(("limits", "most"), [({"max_tokens": 300}, 150), ({}, 40)])
async def test_a_thought_without_an_end_keeps_no_call_from_coming(limits: dict[str, int], most: int) -> None:
    answers = AnswerSettings(form_reasoning_budget=200 if limits else 40)
    async with serving(lambda _: "<think>" + "round and " * 100, answers=answers) as host:
        request = asks_tools("x", WHEN, tool_choice=Calling.REQUIRED, **limits)
        stream = await host.submit(request)
        reply = await stream.reply()
        (choice,) = reply.choices
        assert [call.name for call in choice.tool_calls] == ["when"]
        assert choice.reason is FinishReason.TOOL_CALLS
        assert most - 20 < len(choice.reasoning) <= most
        own = await reply_of(host, replace(request, reasoning=ReasoningWish(budget=9)))
        assert len(own.choices[0].reasoning) <= 9


async def test_a_thought_without_an_end_keeps_no_answer_from_its_form() -> None:
    async with serving(
        lambda _: "<think>" + "round and " * 100, answers=AnswerSettings(form_reasoning_budget=40)
    ) as host:
        request = replace(asks_tools("x"), constraint=Constraint(JsonSchema('{"enum":["yes"]}'), "response_format"))
        (reply,) = (await reply_of(host, request)).choices
        assert 20 < len(reply.reasoning) <= 40
        assert (reply.text, reply.reason) == ('"yes"', FinishReason.STOP)


async def test_the_tool_that_is_named_is_called_whatever_the_model_would_call() -> None:
    async with serving(lambda _: CALL) as host:
        (reply,) = (await reply_of(host, asks_tools("x", NOW, WHEN, tool_choice=CallOf("when")))).choices
        assert [call.name for call in reply.tool_calls] == ["when"]


@pytest.mark.parametrize("choice", [Calling.AUTO, Calling.REQUIRED])
async def test_a_tool_that_is_not_allowed_cannot_be_called_and_the_prompt_stays_the_same(choice: Calling) -> None:
    async with serving(lambda _: CALL) as host:
        free = asks_tools("x", NOW, WHEN)
        assert [call.name for call in (await reply_of(host, free)).choices[0].tool_calls] == ["now"]
        held = replace(free, allowed_tools=frozenset({"when"}), tool_choice=choice)
        reply = await reply_of(host, held)
        assert [call.name for call in reply.choices[0].tool_calls] == ["when"]
        assert reply.usage.cached_tokens >= reply.usage.prompt_tokens - 1


async def test_where_no_tool_is_allowed_none_is_called() -> None:
    async with serving(lambda _: CALL) as host:
        request = replace(asks_tools("x", NOW, WHEN), allowed_tools=frozenset())
        assert (await reply_of(host, request)).choices[0].tool_calls == ()


@pytest.mark.parametrize(("parallel", "count"), [(True, 2), (False, 1)])
async def test_an_answer_ends_behind_one_call_where_no_more_are_wanted(parallel: bool, count: int) -> None:
    async with serving(lambda _: f"{CALL}\n{CALL}") as host:
        for choice in (Calling.REQUIRED, Calling.AUTO):
            request = asks_tools("x", NOW, tool_choice=choice, parallel_calls=parallel)
            (reply,) = (await reply_of(host, request)).choices
            assert (len(reply.tool_calls), reply.text) == (count, "")


async def test_of_itself_a_model_may_talk_and_what_it_calls_keeps_to_the_schema() -> None:
    for tool in (WHEN, STRICT):
        async with serving(lambda _: f"Let me see.\n{WRONG}") as host:
            (reply,) = (await reply_of(host, asks_tools("x", tool))).choices
            assert reply.text == "Let me see."
            assert json.loads(reply.tool_calls[0].arguments) == {"at": "noon"}
    async with serving(lambda _: "Just words.") as host:
        assert (await reply_of(host, asks_tools("x", STRICT))).choices[0].text == "Just words."


async def test_a_call_without_its_mark_keeps_to_the_schema_and_json_that_is_an_answer_is_let_be() -> None:
    bare = WRONG.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    async with serving(lambda _: bare) as host:
        (reply,) = (await reply_of(host, asks_tools("x", STRICT))).choices
        assert [json.loads(call.arguments) for call in reply.tool_calls] == [{"at": "noon"}]
    answer = '{"name": "Ann", "at": "night"}'
    async with serving(lambda _: answer) as host:
        (reply,) = (await reply_of(host, asks_tools("x", STRICT))).choices
        assert (reply.text, reply.tool_calls) == (answer, ())


async def test_a_call_in_a_fence_amid_words_keeps_to_the_schema() -> None:
    fenced = WRONG.replace("<tool_call>\n", "```json\n").replace("\n</tool_call>", "\n```")
    async with serving(lambda _: f"I will ask.\n\n{fenced}") as host:
        (reply,) = (await reply_of(host, asks_tools("x", STRICT))).choices
        assert reply.text == "I will ask."
        assert [json.loads(call.arguments) for call in reply.tool_calls] == [{"at": "noon"}]


async def test_a_call_is_held_to_what_the_model_is_not_told() -> None:
    held = WHEN.parameters.replace('"noon"', '"dawn"')
    async with serving(lambda _: WRONG) as host:
        (reply,) = (await reply_of(host, asks_tools("x", replace(STRICT, enforced=held)))).choices
        assert json.loads(reply.tool_calls[0].arguments) == {"at": "dawn"}


async def test_beside_a_form_for_the_answer_a_model_may_call_or_answer_in_it() -> None:
    form = Constraint(JsonObject(), "response_format")
    for said, calls in ((CALL, 1), ('{"a": 1} and more', 0)):
        async with serving(lambda _, said=said: said) as host:  # type: ignore[misc]
            (reply,) = (await reply_of(host, asks_tools("x", NOW, constraint=form, **UNTHINKING))).choices
            assert len(reply.tool_calls) == calls
            assert reply.text == ("" if calls else '{"a": 1}')


async def test_a_schema_that_no_mask_enforces_is_refused_where_it_must_be_and_taken_loosely_elsewhere() -> None:
    said = '<tool_call>\n{"name": "odd", "arguments": {"a": 1}}\n</tool_call>'
    async with serving(lambda _: said) as host:
        (reply,) = (await reply_of(host, asks_tools("x", ODD))).choices
        assert json.loads(reply.tool_calls[0].arguments) == {"a": 1}
        with pytest.raises(RequestError, match="In the tool `odd`: The schema's keyword `not`") as caught:
            await reply_of(host, asks_tools("x", ODD, tool_choice=Calling.REQUIRED))
        assert caught.value.field == "tool_choice"
        with pytest.raises(RequestError, match="In the tool `odd`") as caught:
            await reply_of(host, asks_tools("x", Tool("odd", parameters=ODD.parameters, strict=True)))
        assert caught.value.field == "tools"
