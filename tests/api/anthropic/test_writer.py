"""Events of the core as a message and as its stream, which say the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.anthropic.thoughts import read_thought, sign_thought
from api.anthropic.wire import ThinkingBlock
from api.anthropic.writer import MessagesDialect
from api.sealing import MARK
from core.errors import EngineFailed, QueueFull
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Prefilled,
    ReasoningDelta,
    TextDelta,
    Timings,
    Usage,
)
from tests.api.anthropic.conftest import read_events

USAGE = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=7, reasoning_tokens=2)


def end(reason: FinishReason = FinishReason.STOP) -> Finished:
    return Finished(0, reason, USAGE, Timings())


def call(number: int, name: str, *arguments: str) -> list[Event]:
    pieces = [CallArguments(0, number, text) for text in arguments]
    return [CallBegun(0, number, f"call_{number}", name), *pieces, CallEnded(0, number)]


def dialect(*, omits_thoughts: bool = False) -> MessagesDialect:
    return MessagesDialect("m", lambda: "req_1", omits_thoughts=omits_thoughts)


def assemble(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content blocks that a client makes of a stream; each is closed before the next begins."""
    blocks: list[dict[str, Any]] = []
    inputs: list[str] = []
    opened: int | None = None
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert opened is None
                opened = event["index"]
                assert opened == len(blocks)
                blocks.append(dict(event["content_block"]))
                inputs.append("")
            case "content_block_delta":
                assert event["index"] == opened
                for name, text in event["delta"].items():
                    if name == "partial_json":
                        inputs[-1] += text
                    elif name != "type":
                        blocks[-1][name] += text
            case "content_block_stop":
                assert event["index"] == opened
                opened = None
                if inputs[-1]:
                    blocks[-1]["input"] = json.loads(inputs[-1])
    assert opened is None
    return blocks


def told(events: Sequence[Event], *, omits_thoughts: bool = False) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A stream's events and the reply to the same."""
    stream = dialect(omits_thoughts=omits_thoughts)
    return (
        read_events(b"".join(stream.write([event]) for event in events)),
        json.loads(dialect(omits_thoughts=omits_thoughts).reply(events)),
    )


ANSWER: list[Event] = [
    ReasoningDelta(0, "Let me "),
    ReasoningDelta(0, "see."),
    TextDelta(0, "It is "),
    TextDelta(0, "here:"),
    *call(0, "read", '{"path": ', '"a"}'),
    *call(1, "now"),
    end(FinishReason.TOOL_CALLS),
]


def test_thoughts_text_and_calls_are_blocks_in_their_order() -> None:
    events, reply = told(ANSWER)
    assert reply["content"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": MARK},
        {"type": "text", "text": "It is here:"},
        {"type": "tool_use", "id": "toolu_0", "name": "read", "input": {"path": "a"}},
        {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}},
    ]
    assert assemble(events) == reply["content"]
    assert reply["stop_reason"] == events[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_thought_ends_with_its_signature_before_its_block_stops() -> None:
    events, _ = told(ANSWER)
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert deltas[:3] == ["thinking_delta", "thinking_delta", "signature_delta"]


def test_usage_tells_the_thoughts_and_what_was_cached() -> None:
    events, reply = told([Prefilled(0, 10, 4, 4, 0.0), Prefilled(0, 10, 4, 10, 0.1), *ANSWER])
    usage = {"input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4}
    assert events[0]["message"]["usage"] == events[0]["message"]["usage"] | usage | {"output_tokens": 0}
    last = usage | {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}}
    assert events[-2]["usage"] == last
    assert reply["usage"] == last | {"service_tier": "standard"}
    assert [event["type"] for event in events].count("message_start") == 1


def test_how_far_a_prompt_is_computed_is_no_event_after_the_first() -> None:
    stream = dialect()
    assert stream.write([Prefilled(0, 10, 4, 4, 0.0)]).startswith(b"event: message_start\n")
    assert stream.write([Prefilled(0, 10, 4, 8, 0.0)]) == b""


@pytest.mark.parametrize("reason", FinishReason)
def test_every_end_has_a_word_that_clients_know(reason: FinishReason) -> None:
    known = {"end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"}
    events, reply = told([TextDelta(0, "a"), end(reason)])
    assert reply["stop_reason"] in known
    assert events[-2]["delta"]["stop_reason"] == reply["stop_reason"]


def test_an_answer_of_nothing_has_no_blocks() -> None:
    events, reply = told([TextDelta(0, ""), end()])
    assert reply["content"] == assemble(events) == []
    assert [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]


def test_arguments_that_were_cut_off_stand_as_a_text_in_a_whole_message() -> None:
    cut: list[Event] = [CallBegun(0, 0, "call_0", "read"), CallArguments(0, 0, '{"path": "'), CallEnded(0, 0, False)]
    reply = json.loads(dialect().reply([*cut, end(FinishReason.LENGTH)]))
    assert reply["content"][0]["input"] == {"INVALID_JSON": '{"path": "'}
    assert reply["stop_reason"] == "max_tokens"
    frames = dialect().write([*cut, end(FinishReason.LENGTH)]).decode()
    assert '"partial_json":"{\\"path\\": \\""' in frames
    assert frames.index("content_block_stop") < frames.index('"stop_reason":"max_tokens"')


def test_a_thought_that_is_omitted_comes_back_in_its_signature() -> None:
    events, reply = told(ANSWER, omits_thoughts=True)
    block = reply["content"][0]
    assert assemble(events) == reply["content"]
    assert block["thinking"] == ""
    assert read_thought(ThinkingBlock(thinking="", signature=block["signature"])) == "Let me see."


@pytest.mark.parametrize("signature", [None, "", "EqQBCkYIBxgC", f"{MARK}!!", f"{MARK}/w=="])
def test_a_thought_that_another_service_has_sealed_is_none(signature: str | None) -> None:
    assert read_thought(ThinkingBlock(thinking="", signature=signature)) == ""
    assert read_thought(ThinkingBlock(thinking="Aha.", signature=signature)) == "Aha."


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_thought_is_read_as_it_was_signed(thought: str) -> None:
    assert read_thought(ThinkingBlock(thinking="", signature=sign_thought(thought, omitted=True))) == thought


def test_a_failure_in_mid_stream_is_an_error_event_by_name() -> None:
    stream = dialect()
    events = read_events(stream.write([TextDelta(0, "a"), Failed(EngineFailed("The engine failed."))]))
    assert stream.over
    assert events[-1] == {
        "type": "error",
        "error": {"type": "api_error", "message": "The engine failed."},
        "request_id": "req_1",
    }
    with pytest.raises(QueueFull):
        dialect().reply([Failed(QueueFull(1, 1))])


PIECES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=4)
BLOCKS = st.lists(st.tuples(st.sampled_from(["text", "thinking", "tool_use"]), PIECES), max_size=6)


@given(BLOCKS)
def test_a_stream_says_what_the_whole_message_says_however_it_is_cut(blocks: list[tuple[str, list[str]]]) -> None:
    events: list[Event] = []
    numbers = itertools.count()
    for kind, pieces in blocks:
        if kind == "tool_use":
            arguments = json.dumps({"pieces": pieces})
            events += call(next(numbers), "f", arguments[:3], arguments[3:])
        else:
            events += [(TextDelta if kind == "text" else ReasoningDelta)(0, piece) for piece in pieces]
    streamed, reply = told([*events, end()])
    assert assemble(streamed) == reply["content"]
    whole = dialect()
    assert whole.write([*events, end()]).count(b"event: ") == len(streamed)
