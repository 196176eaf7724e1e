"""Calls and thoughts of a model as chunks and replies of chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.chat import BODY
from api.openai.chat_writer import ChatDialect
from core.errors import EngineFailed
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    SoFar,
    TextDelta,
    Timings,
    Usage,
)
from tests.api.conftest import chat_body
from tests.api.openai.test_tools import CLOCK, EDIT, WEATHER

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS: list[Event] = [
    ReasoningDelta(0, "h"),
    ReasoningDelta(0, "m"),
    CallBegun(0, 0, "call_a", "weather"),
    CallArguments(0, 0, '{"city":'),
    CallArguments(0, 0, ' "Bonn"}'),
    CallEnded(0, 0),
    CallBegun(0, 1, "call_b", "clock"),
    CallArguments(0, 1, "{}"),
    CallEnded(0, 1),
    Finished(0, FinishReason.TOOL_CALLS, Usage(5, 0, 9, 2), Timings()),
]


def dialect_for(**fields: object) -> ChatDialect:
    return ChatDialect(BODY.decode(json.dumps(chat_body(**fields)).encode()).body, "FP")


def deltas_of(stream: bytes) -> list[dict[str, Any]]:
    frames = [json.loads(frame[6:]) for frame in stream.decode().split("\n\n") if frame.startswith("data: {")]
    return [frame["choices"][0]["delta"] for frame in frames if frame["choices"]]


async def test_id_and_name_of_a_call_come_once_its_arguments_in_pieces_and_its_index_always() -> None:
    stream = dialect_for(stream=True, tools=[WEATHER, CLOCK]).write(CALLS)
    assert stream.endswith(b"data: [DONE]\n\n")
    assert deltas_of(stream) == [
        {"role": "assistant", "content": None},
        {"reasoning_content": "h", "reasoning": "h"},
        {"reasoning_content": "m", "reasoning": "m"},
        {"tool_calls": [began(0, "call_a", "weather")]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ' "Bonn"}'}}]},
        {"tool_calls": [began(1, "call_b", "clock")]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    ends = [json.loads(frame[6:])["choices"][0]["finish_reason"] for frame in stream.decode().split("\n\n")[:-2]]
    assert ends == [None] * 8 + ["tool_calls"]


def began(index: int, name: str, function: str) -> dict[str, object]:
    return {"index": index, "id": name, "type": "function", "function": {"name": function, "arguments": ""}}


async def test_a_custom_tools_input_is_a_text_and_no_json_streamed_or_not() -> None:
    said = dialect_for(tools=[EDIT, CLOCK])
    events: list[Event] = [
        CallBegun(0, 0, "call_a", "edit"),
        CallArguments(0, 0, '{"inp'),
        CallArguments(0, 0, 'ut": "a\\'),
        CallArguments(0, 0, 'nb"}', so_far=SoFar(Usage(5, 0, 3), Timings())),
        CallEnded(0, 0),
        CallBegun(0, 1, "call_b", "clock"),
        CallArguments(0, 1, "{}"),
        CallEnded(0, 1),
        Finished(0, FinishReason.TOOL_CALLS, Usage(5, 0, 9, 2), Timings()),
    ]
    calls = [call for delta in deltas_of(said.write(events)) for call in delta.get("tool_calls", ())]
    begun = {"index": 0, "id": "call_a", "type": "custom", "custom": {"name": "edit", "input": ""}}
    assert calls[0] == begun
    assert "".join(call["custom"]["input"] for call in calls if call["index"] == 0) == "a\nb"
    assert calls[-2:] == [began(1, "call_b", "clock"), {"index": 1, "function": {"arguments": "{}"}}]
    whole = json.loads(dialect_for(tools=[EDIT, CLOCK]).reply(events))["choices"][0]["message"]["tool_calls"]
    assert whole[0] == {"id": "call_a", "type": "custom", "custom": {"name": "edit", "input": "a\nb"}}
    assert whole[1]["function"]["name"] == "clock"


async def test_an_answer_that_begins_with_a_call_has_null_for_content() -> None:
    assert deltas_of(dialect_for(stream=True).write(CALLS[2:3]))[0] == {"role": "assistant", "content": None}


async def test_a_whole_reply_says_the_same_as_its_stream() -> None:
    reply = json.loads(dialect_for(tools=[WEATHER]).reply(CALLS))
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "reasoning": "hm",
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
            {"id": "call_b", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
        ],
    }
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


async def test_words_beside_calls_are_content() -> None:
    message = json.loads(dialect_for().reply([TextDelta(0, "Let me see."), *CALLS]))["choices"][0]["message"]
    assert message["content"] == "Let me see."
    assert len(message["tool_calls"]) == 2


async def test_who_asked_in_the_old_form_is_answered_in_it() -> None:
    fields: dict[str, Any] = {"functions": [WEATHER["function"]]}
    one = [*CALLS[2:6], CALLS[-1]]
    choice = json.loads(dialect_for(**fields).reply(one))["choices"][0]
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Bonn"}'}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in choice["message"]
    stream = dialect_for(stream=True, **fields).write(one)
    calls = [delta["function_call"] for delta in deltas_of(stream) if "function_call" in delta]
    assert calls == [
        {"name": "weather", "arguments": ""},
        {"arguments": '{"city":'},
        {"arguments": ' "Bonn"}'},
    ]
    assert b'"finish_reason":"function_call"' in stream


@pytest.mark.parametrize("fields", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
async def test_thoughts_are_not_told_to_who_does_not_want_them(fields: dict[str, object]) -> None:
    assert b"reasoning_content" not in dialect_for(stream=True, **fields).write(CALLS)
    reply = json.loads(dialect_for(**fields).reply(CALLS))
    assert "reasoning_content" not in reply["choices"][0]["message"]
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


async def test_usage_so_far_stands_in_chunks_of_thoughts_and_calls_too() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    dialect = dialect_for(stream=True, stream_options=options)
    so_far = [SoFar(Usage(5, 0, count, 1), Timings()) for count in (1, 2)]
    stream = dialect.write(
        [ReasoningDelta(0, "hm", 1, so_far[0]), CALLS[2], CallArguments(0, 0, "{}", 1, so_far[1]), CALLS[5], CALLS[-1]]
    )
    frames = [json.loads(frame[6:]) for frame in stream.decode().split("\n\n")[:-2]]
    assert [frame["usage"]["completion_tokens"] for frame in frames] == [0, 1, 1, 2, 9, 9]
    assert frames[3]["choices"][0]["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}


async def test_choices_that_call_and_choices_that_talk_may_interleave() -> None:
    end = [
        Finished(i, reason, Usage(2, 1, 3), Timings())
        for i, reason in enumerate((FinishReason.TOOL_CALLS, FinishReason.STOP))
    ]
    dialect = dialect_for(n=2, stream=True)
    stream = dialect.write(
        [CallBegun(0, 0, "a", "f"), TextDelta(1, "x"), CallArguments(0, 0, "{}"), ReasoningDelta(1, "y"), *end]
    )
    frames = [json.loads(frame[6:])["choices"][0] for frame in stream.decode().split("\n\n")[:-2]]
    assert [frame["index"] for frame in frames] == [0, 0, 1, 1, 0, 1, 0, 1]
    assert [frame["finish_reason"] for frame in frames[-2:]] == ["tool_calls", "stop"]
    assert dialect.over


async def test_a_failure_amid_a_call_is_an_error_event() -> None:
    stream = dialect_for(stream=True).write([CALLS[2], CALLS[3], Failed(EngineFailed("broke"))])
    *_, error, done, _ = stream.decode().split("\n\n")
    assert json.loads(error[6:])["error"]["message"] == "broke"
    assert done == "data: [DONE]"
