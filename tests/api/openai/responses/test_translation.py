"""From requests for responses to the core's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from msgspec import UNSET

from api.openai.responses.items import keep_output, list_item
from api.openai.responses.resource import (
    CustomToolCallItem,
    FunctionCallItem,
    OutputItem,
    OutputTextPart,
    SaidItem,
    ThoughtItem,
    ThoughtPart,
)
from api.openai.responses.service import BODY
from api.openai.responses.translation import build_draft, read_request, translate_response
from api.openai.responses.wire import CallItem, CustomCallItem, InputItem, ReferenceItem
from api.sealing import seal_text
from core.errors import RequestError
from core.requests import (
    Calling,
    CallOf,
    Generation,
    JsonObject,
    JsonSchema,
    Message,
    Priority,
    Role,
    TextPart,
    ToolCall,
)

LOOK: dict[str, Any] = {"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}}


def translated(*before: InputItem, **fields: object) -> Generation:
    settled = BODY.decode(json.dumps({"model": "m", "input": "x"} | fields).encode())
    read = read_request(settled.body, settled.ignored)
    items = [item for item in read.items.items if not isinstance(item, ReferenceItem)]
    return translate_response(read, [*before, *items], before=len(before))


def ignored(**fields: object) -> tuple[str, ...]:
    settled = BODY.decode(json.dumps({"model": "m", "input": "x"} | fields).encode())
    return read_request(settled.body, settled.ignored).ignored


def messages_of(*before: InputItem, **fields: object) -> tuple[Message, ...]:
    prompt = translated(*before, **fields).prompt
    messages: tuple[Message, ...] = prompt.messages  # type: ignore[union-attr]
    return messages


def message(role: Role, text: str, **fields: Any) -> Message:
    return Message(role, (TextPart(text),) if text else (), **fields)


def fault_of(**fields: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        translated(**fields)
    return caught.value


def test_instructions_go_before_the_input() -> None:
    assert messages_of(instructions="Be brief.") == (message(Role.SYSTEM, "Be brief."), message(Role.USER, "x"))


def test_a_message_needs_no_type_and_its_parts_may_be_of_several() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages_of(input=[{"role": "user", "content": parts}]) == (
        Message(Role.USER, (TextPart("a"), TextPart("b"))),
    )


def test_what_the_assistant_did_in_one_turn_is_one_message() -> None:
    items = [
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so", "annotations": []}]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "look",
            "arguments": "{}",
            "id": "fc_1",
            "status": "completed",
        },
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": 'a"b'},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "then"}]},
        {"type": "function_call", "call_id": "c3", "name": "read", "namespace": "files", "arguments": "{}"},
    ]
    calls = ToolCall("c1", "look", "{}"), ToolCall("c2", "patch", r'{"input":"a\"b"}')
    assert messages_of(input=items) == (
        message(Role.USER, "go"),
        message(Role.ASSISTANT, "so", tool_calls=calls, reasoning="hm"),
        message(Role.TOOL, "one", name="look", tool_call_id="c1"),
        message(Role.TOOL, "two", name="patch", tool_call_id="c2"),
        message(Role.ASSISTANT, "", tool_calls=(ToolCall("c3", "files__read", "{}"),), reasoning="then"),
    )


def test_a_sealed_thought_counts_for_more_than_its_summary() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "encrypted_content": seal_text("long"),
    }
    assert messages_of(input=[item, {"role": "user", "content": "x"}])[0].reasoning == "long"
    foreign = item | {"encrypted_content": "gAAAAB"}
    assert messages_of(input=[foreign, {"role": "user", "content": "x"}])[0].reasoning == "short"


def test_what_was_answered_goes_before_the_next_request() -> None:
    answered: list[OutputItem] = [
        ThoughtItem(id="rs_1", summary=[], content=[ThoughtPart("hm")], status="completed"),
        SaidItem(id="msg_1", status="completed", content=[OutputTextPart("so")]),
        FunctionCallItem(id="fc_1", call_id="c1", name="look", arguments="{}", status="completed"),
    ]
    before = map(keep_output, answered)
    output = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
    assert messages_of(*before, input=[output]) == (
        message(Role.ASSISTANT, "so", tool_calls=(ToolCall("c1", "look", "{}"),), reasoning="hm"),
        message(Role.TOOL, "seen", name="look", tool_call_id="c1"),
    )


def test_the_output_of_a_call_that_is_not_there_is_refused() -> None:
    fault = fault_of(
        input=[{"role": "user", "content": "x"}, {"type": "function_call_output", "call_id": "c", "output": ""}]
    )
    assert fault.field == "input[1].call_id"


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"type": "unheard_of"}, "input[0].type"),
        ({"type": "message", "role": "tool", "content": ""}, "input[0].role"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "unheard_of"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": "x", "unheard_of": 1}, "input[0].unheard_of"),
        ({"type": "function_call", "name": "x", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "", "name": "x", "arguments": "{}"}, "input[0].call_id"),
        ({"type": 5}, "input[0].type"),
        ([], "input[0]"),
    ],
)
def test_an_item_that_is_wrong_is_named(item: object, field: str) -> None:
    assert fault_of(input=[item]).field == field


def test_items_of_hosted_tools_are_left_out_and_told() -> None:
    items = [{"type": "web_search_call", "id": "ws_1"}, {"role": "user", "content": "x"}]
    assert ignored(input=items) == ("input",)
    assert messages_of(input=items) == (message(Role.USER, "x"),)


@pytest.mark.parametrize("given", [None, []])
def test_a_request_without_input_is_refused(given: object) -> None:
    assert fault_of(input=given).field == "input"


def test_tools_that_clients_run_are_offered_and_hosted_ones_are_told() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    space = {"type": "namespace", "name": "files", "description": "", "tools": [LOOK]}
    tools = [LOOK, {"type": "custom", "name": "patch", "format": grammar}, space, {"type": "web_search"}]
    asked = translated(tools=tools)
    names = [tool.name for tool in asked.prompt.tools]  # type: ignore[union-attr]
    assert names == ["look", "patch", "files__look"]
    assert "start: X" in asked.prompt.tools[1].description  # type: ignore[union-attr]
    assert ignored(tools=tools) == ("tools.format", "tools.web_search")


@pytest.mark.parametrize(("syntax", "definition"), [("lark", 'start: "a" WORD\nWORD: /[a-z]+/'), ("regex", "a[a-z]+")])
def test_the_input_of_a_custom_tool_is_held_to_its_grammar_and_the_prompt_tells_of_it_in_words_alone(
    syntax: str, definition: str
) -> None:
    wanted = {"type": "grammar", "syntax": syntax, "definition": definition}
    tools = [{"type": "custom", "name": "patch", "format": wanted}]
    (tool,) = translated(tools=tools).callable_tools
    pattern = json.loads(tool.enforced)["properties"]["input"]["pattern"]
    assert (bool(re.search(pattern, "abc")), bool(re.search(pattern, "bc"))) == (True, False)
    assert (tool.strict, "pattern" in tool.parameters, definition in tool.description) == (True, False, True)
    assert ignored(tools=tools) == ()


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (None, Calling.AUTO),
        ("none", Calling.NONE),
        ("required", Calling.REQUIRED),
        ({"type": "function", "name": "look"}, CallOf("look")),
    ],
)
def test_the_choice_of_a_tool_is_the_cores(choice: object, meant: object) -> None:
    assert translated(tools=[LOOK], tool_choice=choice).tool_choice == meant


def test_only_allowed_tools_may_be_called_and_the_model_is_told_of_all() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    asked = translated(tools=[LOOK | {"name": "a"}, LOOK | {"name": "b"}], tool_choice=allowed)
    assert [tool.name for tool in asked.prompt.tools] == ["a", "b"]  # type: ignore[union-attr]
    assert [tool.name for tool in asked.callable_tools] == ["b"]
    assert asked.tool_choice is Calling.REQUIRED


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "x"}, "tools": [LOOK]}, "tool_choice.name"),
        ({"tools": [LOOK, LOOK]}, "tools[1].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [LOOK | {"unheard_of": 1}]}, "tools[0].unheard_of"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True, "store": False}, "store"),
        ({"include": ["everything"]}, "include"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 3, "n_predict": 4}, "n_predict"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "s"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_object"}}, "regex": "x"}, "text.format"),
        ({"reasoning": {"effort": 5}}, "reasoning.effort"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"messages": [{}]}, "messages"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    assert (fault_of(**fields).field or "").startswith(field)


def test_what_changes_no_answer_is_told() -> None:
    fields = {"truncation": "auto", "prompt_cache_key": "k", "text": {"verbosity": "low"}, "max_tool_calls": 3}
    assert set(ignored(**fields)) == {"truncation", "prompt_cache_key", "text.verbosity", "max_tool_calls"}
    assert ignored(truncation="disabled", service_tier="fast", store=True, stream_options={}) == ()


def test_forms_of_answers_are_the_cores() -> None:
    schema = {"type": "json_schema", "name": "s", "strict": True, "schema": {"type": "object"}}
    asked = translated(text={"format": schema}).constraint
    assert asked is not None
    assert (asked.form, asked.field) == (JsonSchema('{"type": "object"}'), "text.format")
    constraint = translated(text={"format": {"type": "json_object"}}).constraint
    assert constraint is not None
    assert constraint.form == JsonObject()
    assert translated(text={"format": {"type": "text"}}).constraint is None


def test_wishes_about_the_answer_are_the_cores() -> None:
    asked = translated(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=7,
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"},
        service_tier="flex",
        top_logprobs=2,
    )
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.logprobs) == (0.5, 0.9, 2)
    assert (asked.max_tokens, asked.parallel_calls, asked.reasoning.effort) == (7, False, "low")
    assert asked.priority is Priority.BATCH


def test_a_response_repeats_its_tools_with_all_their_fields() -> None:
    body = BODY.decode(
        json.dumps({"model": "m", "input": "x", "tools": [{"type": "function", "name": "a"}]}).encode()
    ).body
    tools = json.loads(bytes(build_draft(read_request(body), "m").tools))
    assert tools == [{"type": "function", "name": "a", "description": None, "parameters": None, "strict": None}]


def test_a_call_is_listed_with_the_namespace_that_it_came_with() -> None:
    calls = (
        CallItem(call_id="c", name="read", arguments="{}", namespace="files", id="fc_1"),
        CustomCallItem(call_id="c", name="patch", input="x", namespace="files", id="ctc_1"),
    )
    for call in calls:
        listed = list_item(call)
        assert isinstance(listed, FunctionCallItem | CustomToolCallItem)
        assert listed.namespace == "files"
    plain = list_item(CallItem(call_id="c", name="read", arguments="{}"))
    assert isinstance(plain, FunctionCallItem)
    assert plain.namespace is UNSET
