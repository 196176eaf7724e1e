"""Tools, calls and thoughts in chat completions: what a request asks for, and what it gets from a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api.openai.chat import BODY, translate_request
from core.decoding.masks.tools import MOST_FREE_TOOLS
from core.requests import Calling, CallOf, Conversation, Generation, Message, ReasoningWish, Role, Tool, ToolCall
from tests.api.conftest import Served, chat_body, text_of, usage_of, user

pytestmark = pytest.mark.asyncio(loop_scope="session")

EDIT: dict[str, Any] = {
    "type": "custom",
    "custom": {
        "name": "edit",
        "description": "Edits.",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z\\n]+"}},
    },
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock"}}
BONN = '{"city": "Bonn {}"}'
CALL = f'<tool_call>\n{{"name": "weather", "arguments": {BONN}}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'


def translated(**fields: object) -> Generation:
    return translate_request(BODY.decode(json.dumps(chat_body(**fields)).encode()).body)


def tools_of(request: Generation) -> tuple[Tool, ...]:
    assert isinstance(request.prompt, Conversation)
    return request.prompt.tools


async def test_tools_become_the_cores_and_a_function_without_parameters_takes_none() -> None:
    strict = {"type": "function", "function": {"name": "strict", "parameters": SCHEMA, "strict": True}}
    weather, clock, last = tools_of(translated(tools=[WEATHER, CLOCK, strict, CLOCK]))
    assert (weather.name, weather.description, json.loads(weather.parameters)) == (
        "weather",
        "Tells the weather.",
        SCHEMA,
    )
    assert clock == Tool("clock", parameters='{"type":"object","properties":{}}')
    assert (last.name, last.strict) == ("strict", True)


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (None, Calling.AUTO),
        ("auto", Calling.AUTO),
        ("none", Calling.NONE),
        ("required", Calling.REQUIRED),
        ("any", Calling.REQUIRED),
        ({"type": "auto"}, Calling.AUTO),
        ({"type": "function", "function": {"name": "clock"}}, CallOf("clock")),
        ({"type": "function", "name": "clock"}, CallOf("clock")),
    ],
    ids=str,
)
async def test_who_chooses_the_tool(choice: object, meant: object) -> None:
    request = translated(tools=[WEATHER, CLOCK], tool_choice=choice)
    assert request.tool_choice == meant
    assert len(tools_of(request)) == 2


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize(("mode", "meant"), [("auto", Calling.AUTO), ("required", Calling.REQUIRED)])
async def test_the_model_is_told_of_all_tools_and_may_call_the_allowed_ones(
    mode: str, meant: Calling, boxed: bool
) -> None:
    box = {"mode": mode, "tools": [{"type": "function", "function": {"name": "clock"}}, {"type": "mcp"}]}
    choice = {"type": "allowed_tools", **({"allowed_tools": box} if boxed else box)}
    request = translated(tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [tool.name for tool in tools_of(request)] == ["weather", "clock"]
    assert ([tool.name for tool in request.callable_tools], request.tool_choice) == (["clock"], meant)


async def test_the_old_form_of_functions_asks_for_one_call() -> None:
    request = translated(functions=[WEATHER["function"]], function_call={"name": "weather"})
    assert ([tool.name for tool in tools_of(request)], request.tool_choice) == (["weather"], CallOf("weather"))
    assert not request.parallel_calls
    assert translated(tools=[WEATHER]).parallel_calls
    assert not translated(tools=[WEATHER], parallel_tool_calls=False).parallel_calls


async def test_calls_thoughts_and_results_in_the_history_keep_what_they_are() -> None:
    request = translated(
        messages=[
            *user("What is it like in Bonn?"),
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Hm.",
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "index": 0,
                        "function": {"name": "weather", "arguments": BONN},
                    },
                    {"function": {"name": "clock", "arguments": {}}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_a", "content": [{"type": "text", "text": "Rain."}]},
            {
                "role": "assistant",
                "content": "",
                "reasoning": "So.",
                "function_call": {"name": "clock", "arguments": ""},
            },
            {"role": "function", "name": "clock", "content": "noon"},
        ]
    )
    assert isinstance(request.prompt, Conversation)
    _, called, result, old, told = request.prompt.messages
    assert called == Message(
        Role.ASSISTANT,
        (),
        tool_calls=(ToolCall("call_a", "weather", BONN), ToolCall("call_1", "clock", "{}")),
        reasoning="Hm.",
    )
    assert (result.role, result.text, result.tool_call_id) == (Role.TOOL, "Rain.", "call_a")
    assert (old.tool_calls, old.reasoning) == ((ToolCall("call_3", "clock", "{}"),), "So.")
    assert (told.role, told.name, told.tool_call_id) == (Role.TOOL, "clock", "call_3")


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, ReasoningWish()),
        ({"reasoning_effort": "none"}, ReasoningWish(effort="none")),
        ({"reasoning": {"effort": "high", "max_tokens": 100}}, ReasoningWish(effort="high", budget=100)),
        ({"think": "low"}, ReasoningWish(effort="low")),
        ({"think": False}, ReasoningWish(think=False)),
        ({"enable_thinking": True, "think": False}, ReasoningWish(think=True)),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, ReasoningWish(think=True, budget=64)),
        ({"thinking": {"type": "disabled"}}, ReasoningWish(think=False)),
        ({"reasoning_budget": 0, "reasoning_budget_message": "So."}, ReasoningWish(budget=0, message="So.")),
        ({"thinking_token_budget": 7, "reasoning_budget": -1}, ReasoningWish(budget=7)),
        ({"reasoning_format": "none"}, ReasoningWish(inline=True)),
        ({"reasoning_format": "deepseek"}, ReasoningWish()),
        ({"separate_reasoning": False}, ReasoningWish(inline=True)),
    ],
    ids=str,
)
async def test_what_is_wished_of_thinking_has_many_names(fields: dict[str, object], wish: ReasoningWish) -> None:
    assert translated(**fields).reasoning == wish


@pytest.mark.parametrize(
    ("fields", "continued"),
    [
        ({}, False),
        ({"messages": [*user("x"), {"role": "assistant", "content": "y"}]}, True),
        ({"messages": [*user("x"), {"role": "assistant", "content": "y", "prefix": True}]}, True),
        ({"messages": [*user("x"), {"role": "assistant", "content": "y"}], "continue_final_message": False}, False),
        ({"messages": [*user("x"), {"role": "assistant", "content": "y"}], "add_generation_prompt": True}, False),
        ({"messages": [*user("x"), {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]}, False),
    ],
    ids=str,
)
async def test_a_last_message_of_the_assistant_is_gone_on_with_unless_it_calls(
    fields: dict[str, object], continued: bool
) -> None:
    prompt = translated(**fields).prompt
    assert isinstance(prompt, Conversation)
    assert prompt.continued is continued


async def test_a_custom_tool_is_told_with_its_grammar_chosen_by_name_and_remembered_as_it_was_called() -> None:
    call = {"id": "call_a", "type": "custom", "custom": {"name": "edit", "input": 'say "x"'}}
    history = [
        *user("x"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a", "content": "y"},
    ]
    request = translated(messages=history, tools=[EDIT], tool_choice={"type": "custom", "custom": {"name": "edit"}})
    (tool,) = tools_of(request)
    assert (tool.name, tool.strict, "[a-z" in tool.description) == ("edit", True, True)
    assert "pattern" in tool.enforced
    assert request.tool_choice == CallOf("edit")
    assert isinstance(request.prompt, Conversation)
    assert request.prompt.messages[1].tool_calls == (ToolCall("call_a", "edit", '{"input":"say \\"x\\""}'),)


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        (
            {"type": "custom", "custom": {"name": "edit", "format": {"type": "grammar"}}},
            "tools[0].custom.format.grammar",
        ),
        ({"type": "custom"}, "tools[0].custom"),
        ({"type": "custom", "custom": {"name": ""}}, "tools[0].custom.name"),
    ],
)
async def test_a_custom_tool_that_is_half_told_is_refused_by_its_field(
    caller: Served, tool: dict[str, object], field: str
) -> None:
    reply = await caller.chat(**chat_body(tools=[tool]))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


async def test_thoughts_words_and_calls_are_told_apart_streamed_or_not(caller: Served) -> None:
    asked = {"messages": user(f"<think>\nhm\n</think>\n\nLet me see.\n{CALL}\n{TIME}"), "tools": [WEATHER, CLOCK]}
    reply = await caller.complete(**asked)
    message: Any = reply.choices[0].message
    assert (message.content, message.reasoning_content) == ("Let me see.", "hm")
    assert [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls] == [
        ("weather", json.loads(BONN)),
        ("clock", {}),
    ]
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.model == "echo"
    details = usage_of(reply).completion_tokens_details
    assert details is not None
    assert details.reasoning_tokens
    chunks = await caller.chunks(**asked)
    assert text_of(chunks) == "Let me see."
    begun = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or [] if call.id]
    assert [call.index for call in begun] == [0, 1]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_a_result_goes_back_and_is_answered(caller: Served) -> None:
    first = (await caller.complete(messages=user(CALL), tools=[WEATHER])).choices[0].message
    assert first.tool_calls
    history = [
        *user(CALL),
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "Rain."},
    ]
    second = await caller.complete(messages=history, tools=[WEATHER])
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("It says: Rain.", "stop")


async def test_text_that_is_no_call_is_content(caller: Served) -> None:
    many = [{"type": "function", "function": {"name": f"tool{i}"}} for i in range(MOST_FREE_TOOLS)]
    for text in ("<tool_call>oops", f"<tool_call>{{}}</tool_call> {CALL.replace('weather', 'nothing')}"):
        reply = await caller.complete(messages=user(text), tools=[WEATHER, *many])
        assert reply.choices[0].message.content == text
        assert reply.choices[0].finish_reason == "stop"


async def test_a_limit_amid_a_call_is_told_as_length(caller: Served) -> None:
    reply = await caller.complete(messages=user(CALL), tools=[WEATHER], max_tokens=40)
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == CALL[:40]


async def test_a_call_that_is_asked_for_or_strict_cannot_come_out_wrong(caller: Served) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    wrong = CALL.replace("weather", "nothing").replace("Bonn", "")
    for fields in (
        {"tools": [WEATHER, CLOCK], "tool_choice": "required"},
        {"tools": [WEATHER, CLOCK], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [strict], "parallel_tool_calls": False},
    ):
        reply = await caller.complete(messages=user(wrong), **fields)
        assert reply.choices[0].finish_reason == "tool_calls"
        calls: Any = reply.choices[0].message.tool_calls
        assert [call.function.name in ("weather", "clock") for call in calls] == [True]
        assert isinstance(json.loads(calls[0].function.arguments), dict)


async def test_a_tool_that_cannot_be_enforced_is_named(caller: Served) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"properties": {"a": {"not": {}}}}}}
    response = await caller.chat(tools=[odd], tool_choice="required")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tool_choice"
    assert "In the tool `odd`: The schema's keyword `not` at properties.a" in response.json()["error"]["message"]


async def test_a_model_without_calls_is_not_asked_for_them(echo: Served) -> None:
    response = await echo.chat(tools=[WEATHER], tool_choice="required")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tool_choice"


async def test_ten_thousand_tools_and_a_megabyte_of_schema_hold_nobody_up(caller: Served) -> None:
    many = [{"type": "function", "function": {"name": f"tool{i}", "strict": i == 7}} for i in range(10_000)]
    large = {"name": "x", "parameters": {**SCHEMA, "description": "x" * 1_000_000}}
    heavy = [
        asyncio.create_task(caller.chat(tools=many)),
        asyncio.create_task(caller.chat(tools=[WEATHER, {"type": "function", "function": large}])),
    ]
    for _ in range(5):
        assert text_of(await caller.chunks(messages=user("I am served."))) == "I am served."
    for response in await asyncio.gather(*heavy):
        # Their prompts are longer than the context.
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_calls_stay_in_the_text_where_they_are_not_to_be_parsed(caller: Served) -> None:
    text = f"Let me see.\n{CALL}"
    reply = await caller.complete(
        messages=user(text), tools=[WEATHER], extra_body={"parse_tool_calls": False, "reasoning_format": "none"}
    )
    message = reply.choices[0].message
    assert (message.content, message.tool_calls, reply.choices[0].finish_reason) == (text, None, "stop")


async def test_thoughts_stand_in_the_text_too_as_deepseeks_first_clients_expect_them(caller: Served) -> None:
    asked: dict[str, Any] = {
        "messages": user("<think>\nhm, so\n</think>\n\nLet me see."),
        "extra_body": {"reasoning_format": "deepseek-legacy"},
    }
    message: Any = (await caller.complete(**asked)).choices[0].message
    assert (message.content, message.reasoning_content) == ("<think>hm, so</think>Let me see.", "hm, so")
    chunks: Any = await caller.chunks(**asked)
    assert text_of(chunks) == message.content
    thoughts = [getattr(choice.delta, "reasoning_content", None) for chunk in chunks for choice in chunk.choices]
    assert "".join(each or "" for each in thoughts) == "hm, so"
