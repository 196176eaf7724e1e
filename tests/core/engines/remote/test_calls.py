"""Thoughts and tool calls go to a server elsewhere and come back from it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.remote.answer import RemoteAnswer
from core.engines.remote.calls import CallFragment, CallStream, FunctionFragment
from core.errors import RequestError
from core.events import CallArguments, CallBegun, CallEnded, CallEvent, FinishReason, ReasoningDelta, TextDelta
from core.requests import (
    Calling,
    CallOf,
    Conversation,
    Infill,
    Message,
    ReasoningWish,
    Role,
    TextPart,
    Tool,
    ToolCall,
)
from tests.core.engines.elsewhere import ServerExchange, answer_fully, elsewhere, hosting
from tests.fakes.support import asks, said

TOOL = Tool("read", "Reads a file.", '{"type": "object", "properties": {"path": {"type": "string"}}}', strict=True)
CALLED = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c1", "read", '{"path": "a"}'),), reasoning="Look first.")
RESULT = Message(Role.TOOL, (TextPart("text of a"),), tool_call_id="c1")
CONVERSATION = Conversation((said("what is in a?"), CALLED, RESULT), tools=(TOOL,))


async def answer_with_calls(exchange: ServerExchange) -> None:
    await exchange.begin()
    for delta in (
        {"role": "assistant", "reasoning_content": "I must "},
        {"reasoning": "look."},
        {"content": "Looking."},
        {"tool_calls": [{"index": 0, "id": "c9", "type": "function", "function": {"name": "read", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"path": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"b"}'}}]},
        {"tool_calls": [{"index": 1, "id": "c10", "function": {"name": "read", "arguments": "{}"}}]},
    ):
        await exchange.event({"choices": [{"index": 0, "delta": delta}]})
    await exchange.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    await exchange.raw(b"data: [DONE]\n\n")


async def test_thoughts_and_calls_of_a_server_elsewhere_are_events_of_their_own() -> None:
    async with elsewhere(answer_with_calls) as server, hosting(server.url) as host:
        reply = await (await host.submit(asks("", "m", prompt=CONVERSATION))).reply()
    (choice,) = reply.choices
    assert (choice.reasoning, choice.text) == ("I must look.", "Looking.")
    assert choice.tool_calls == (ToolCall("c9", "read", '{"path": "b"}'), ToolCall("c10", "read", "{}"))
    assert choice.reason is FinishReason.TOOL_CALLS


def test_a_chunk_of_a_thought_and_of_words_tells_the_thought_first() -> None:
    answer = RemoteAnswer("there", 1)
    told = answer.read('{"choices": [{"index": 0, "delta": {"content": "Yes.", "reasoning_content": "So it is."}}]}')
    assert [type(event) for event in told] == [ReasoningDelta, TextDelta]


async def test_tools_calls_and_results_are_sent_as_openai_has_them() -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        request = asks("", "m", prompt=CONVERSATION, parallel_calls=False, tool_choice=CallOf("read"))
        await (await host.submit(request)).reply()
    (body,) = server.bodies
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Look first.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path": "a"}'}}
            ],
        },
        {"role": "tool", "content": "text of a", "tool_call_id": "c1"},
    ]
    (tool,) = body["tools"]
    assert tool["function"]["parameters"]["properties"] == {"path": {"type": "string"}}
    assert tool["function"]["strict"] is True
    assert body["tool_choice"] == {"type": "function", "function": {"name": "read"}}
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "sent"), [(Calling.AUTO, None), (Calling.NONE, "none"), (Calling.REQUIRED, "required")]
)
async def test_a_choice_that_is_made_anyway_is_not_sent(choice: Calling, sent: str | None) -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        await (await host.submit(asks("", "m", prompt=CONVERSATION, tool_choice=choice))).reply()
    assert server.bodies[0].get("tool_choice") == sent


async def test_wishes_about_thinking_are_sent_and_a_budget_is_refused_by_name() -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        await (await host.submit(asks("hello", "m", reasoning=ReasoningWish(think=False, effort="low")))).reply()
        with pytest.raises(RequestError, match="elsewhere") as told:
            await (await host.submit(asks("hello", "m", reasoning=ReasoningWish(budget=9)))).reply()
    assert told.value.field == "reasoning_budget"
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert server.bodies[0]["reasoning_effort"] == "low"


async def test_a_budget_of_the_settings_keeps_no_request_from_a_server_elsewhere() -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url, ReasoningWish(effort="low", budget=9)) as host:
        await (await host.submit(asks("hello", "m"))).reply()
        assert any("does not bound its thoughts" in note for note in host.snapshot().notes)
    assert server.bodies[0]["reasoning_effort"] == "low"


async def test_a_gap_is_sent_as_openai_has_it_and_files_beside_it_are_refused_by_name() -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        await (await host.submit(asks("", "m", prompt=Infill("def f():", "f()", begun="    ret")))).reply()
        with pytest.raises(RequestError, match="no other files") as told:
            await (await host.submit(asks("", "m", prompt=Infill("a", "b", files=(("c.py", "d"),))))).reply()
    assert told.value.field == "input_extra"
    (body,) = server.bodies
    assert (server.asked[-1].path, body["prompt"], body["suffix"]) == ("/v1/completions", "def f():    ret", "f()")


fragments = st.builds(
    CallFragment,
    index=st.none() | st.integers(0, 3),
    id=st.none() | st.just("c"),
    function=st.none()
    | st.builds(FunctionFragment, name=st.none() | st.just("read"), arguments=st.none() | st.text(max_size=4)),
)


@given(st.lists(st.lists(fragments, max_size=3), max_size=6))
def test_whatever_fragments_come_each_call_begins_once_and_ends_once(parts: Sequence[Sequence[CallFragment]]) -> None:
    stream = CallStream(0)
    events: list[CallEvent] = [event for part in parts for event in stream.read(part)]
    events += stream.end()
    begun = [event.call for event in events if isinstance(event, CallBegun)]
    ended = [event.call for event in events if isinstance(event, CallEnded)]
    assert begun == ended == list(range(len(begun)))
    assert stream.made == bool(begun)
    open_call: int | None = None
    for event in events:
        match event:
            case CallBegun(call=call):
                assert open_call is None
                open_call = call
            case CallArguments(call=call):
                assert call == open_call
            case CallEnded(call=call):
                assert call == open_call
                open_call = None
