"""From bodies of Anthropic's Messages to the core's requests."""

from __future__ import annotations

import json

import jsonschema
import pytest

from api.anthropic.messages import BODY
from api.anthropic.translation import translate_messages
from core.requests import (
    Calling,
    CallOf,
    Conversation,
    Generation,
    JsonSchema,
    Message,
    ReasoningWish,
    Role,
    TextPart,
    Tool,
    ToolCall,
)
from tests.api.anthropic.conftest import HOSTED, WEATHER, message_body
from tests.api.conftest import user


def translated(**fields: object) -> Generation:
    return translate_messages(BODY.decode(json.dumps(message_body(**fields)).encode()).body)


def conversation(**fields: object) -> Conversation:
    prompt = translated(**fields).prompt
    assert isinstance(prompt, Conversation)
    return prompt


def text(*parts: str) -> tuple[TextPart, ...]:
    return tuple(map(TextPart, parts))


def assistant(*blocks: object) -> dict[str, object]:
    return {"role": "assistant", "content": list(blocks)}


USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}


def test_system_text_and_blocks_come_first() -> None:
    assert conversation(system="Be brief.").messages[0] == Message(Role.SYSTEM, text("Be brief."))
    blocks = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    assert conversation(system=blocks).messages[0] == Message(Role.SYSTEM, text("Be brief.", "Be kind."))


def test_thoughts_text_and_calls_of_the_assistant_are_one_turn() -> None:
    thinking = {"type": "thinking", "thinking": "Where?", "signature": "s"}
    sealed = {"type": "redacted_thinking", "data": "xyz"}
    turn = assistant(thinking, sealed, {"type": "text", "text": "I look."}, USE)
    messages = conversation(messages=[*user("Rome?"), turn, *user([RESULT])]).messages
    assert messages[1] == Message(
        Role.ASSISTANT,
        text("I look."),
        tool_calls=(ToolCall("toolu_1", "weather", '{"city": "Rome"}'),),
        reasoning="Where?",
    )
    assert messages[2] == Message(Role.TOOL, text("sunny"), tool_call_id="toolu_1")


def test_results_are_turns_of_their_own_and_what_the_user_says_follows() -> None:
    second = {
        **RESULT,
        "tool_use_id": "toolu_2",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }
    third = {"type": "tool_result", "tool_use_id": "toolu_3"}
    uses = [{**USE, "id": f"toolu_{number}"} for number in (1, 2, 3)]
    said = {"type": "text", "text": "And now?"}
    messages = conversation(messages=[*user("x"), assistant(*uses), *user([RESULT, second, third, said])]).messages
    assert [message.role for message in messages[2:]] == [Role.TOOL, Role.TOOL, Role.TOOL, Role.USER]
    assert [message.tool_call_id for message in messages[2:5]] == ["toolu_1", "toolu_2", "toolu_3"]
    assert messages[3].parts == text("a", "b")
    assert messages[4].parts == ()


@pytest.mark.parametrize(
    ("content", "parts"),
    [("no such city", ("Error:", "no such city")), ("Error: gone", ("Error: gone",)), ([], ("Error:",))],
)
def test_a_result_that_is_an_error_says_so(content: object, parts: tuple[str, ...]) -> None:
    failed = {**RESULT, "content": content, "is_error": True}
    assert conversation(messages=[*user("x"), assistant(USE), *user([failed])]).messages[2].parts == text(*parts)


def test_turns_of_one_role_that_follow_each_other_are_one() -> None:
    messages = conversation(messages=[*user("a"), *user("b"), assistant({"type": "text", "text": "c"}), *user("d")])
    assert [message.parts for message in messages.messages] == [text("a", "b"), text("c"), text("d")]


def test_each_result_is_a_turn_even_where_a_client_sends_one_twice() -> None:
    messages = conversation(messages=[*user("x"), assistant(USE), *user([RESULT, RESULT])]).messages
    assert [message.role for message in messages[2:]] == [Role.TOOL, Role.TOOL]


def test_a_system_message_in_the_middle_keeps_its_place() -> None:
    messages = conversation(messages=[*user("a"), {"role": "system", "content": "French."}, *user("b")]).messages
    assert [message.role for message in messages] == [Role.USER, Role.SYSTEM, Role.USER]


def test_a_last_message_of_the_assistant_is_continued_unless_it_says_nothing() -> None:
    begun = conversation(messages=[*user("a"), {"role": "assistant", "content": "The answer is"}])
    assert begun.continued
    assert begun.messages[-1].parts == text("The answer is")
    empty = conversation(messages=[*user("a"), {"role": "assistant", "content": ""}])
    assert not empty.continued
    assert empty.messages[-1].role is Role.USER
    assert not conversation(messages=user("a")).continued


def test_documents_of_text_and_what_was_found_are_read_as_text() -> None:
    document = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}
    found = {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "F"}]}
    assert conversation(messages=user([document, found])).messages[0].parts == text("T", "D", "T", "S", "F")


def test_what_tools_of_another_service_left_in_a_conversation_is_left_out() -> None:
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "x": 1}]}
    turn = assistant(used, result, {"type": "text", "text": "Found."})
    assert conversation(messages=[*user("a"), turn, *user("b")]).messages[1].parts == text("Found.")


def test_tools_of_the_client_are_taken_and_those_of_services_dropped() -> None:
    tools = conversation(
        tools=[{**WEATHER, "strict": True}, HOSTED, {"type": "mcp_toolset", "mcp_server_name": "m"}]
    ).tools
    schema = json.dumps(WEATHER["input_schema"])
    assert tools == (Tool("weather", "Tells the weather.", schema, strict=True),)


def test_tools_that_the_client_runs_are_told_to_the_model_though_their_type_alone_names_them() -> None:
    editor = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 100}
    computer = {"type": "computer_20250124", "name": "computer", "display_width_px": 9, "display_height_px": 9}
    tools = conversation(tools=[{"type": "bash_20250124", "name": "bash"}, editor, computer]).tools
    assert [tool.name for tool in tools] == ["bash", "str_replace_based_edit_tool"]
    for tool in tools:
        jsonschema.Draft202012Validator.check_schema(json.loads(tool.parameters))
        assert "command" in json.loads(tool.parameters)["properties"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"type": "auto"}, Calling.AUTO),
        ({"type": "any"}, Calling.REQUIRED),
        ({"type": "none"}, Calling.NONE),
        ({"type": "tool", "name": "weather"}, CallOf("weather")),
    ],
)
def test_a_choice_of_tools_and_whether_several_may_be_called(said: dict[str, object], wanted: object) -> None:
    assert translated(tools=[WEATHER], tool_choice=said).tool_choice == wanted
    assert translated(tools=[WEATHER], tool_choice=said).parallel_calls
    assert not translated(tools=[WEATHER], tool_choice={**said, "disable_parallel_tool_use": True}).parallel_calls


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, ReasoningWish()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ReasoningWish(think=True, budget=2048)),
        ({"thinking": {"type": "disabled"}}, ReasoningWish(think=False)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, ReasoningWish(think=True)),
        ({"thinking": {"type": "between_tools"}}, ReasoningWish(think=False)),
        ({"output_config": {"effort": "low"}}, ReasoningWish(effort="low")),
        ({"output_config": {"effort": "max"}}, ReasoningWish(effort="max")),
    ],
)
def test_wishes_about_thinking(fields: dict[str, object], wish: ReasoningWish) -> None:
    assert translated(**fields).reasoning == wish


def test_a_schema_of_the_answer_in_both_of_its_forms() -> None:
    said = {"type": "json_schema", "schema": {"type": "object"}}
    for fields, field in (
        ({"output_config": {"format": said}}, "output_config.format"),
        ({"output_format": said}, "output_format"),
    ):
        constraint = translated(**fields).constraint
        assert constraint is not None
        assert constraint.form == JsonSchema('{"type": "object"}')
        assert constraint.field == field
