"""From events to a response and its stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.openai.custom_input import wrap_custom_input
from api.openai.responses.frames import MESSAGES, SERVER_SENT, Framing, frame_lane
from api.openai.responses.service import BODY
from api.openai.responses.translation import build_draft, read_request
from api.openai.responses.writer import ResponseDialect, ResponseWriter, WantedDetails
from api.sealing import open_text
from core.errors import Cancelled, ContextExceeded, EngineError
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Timings,
    Usage,
)
from tests.api.openai.responses.conftest import check_events, check_response, kinds_of, text_of

TOOLS = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}},
    {"type": "custom", "name": "patch"},
    {"type": "namespace", "name": "files", "description": "", "tools": [{"type": "function", "name": "read"}]},
]
MESSAGE = ["output_item.added", "content_part.added", "output_text.delta"]
MESSAGE_END = ["output_text.done", "content_part.done", "output_item.done"]


def end(reason: FinishReason = FinishReason.STOP) -> Finished:
    return Finished(0, reason, Usage(5, 2, 7, 3), Timings())


def call(name: str, *arguments: str, number: int = 0) -> list[Event]:
    return [
        CallBegun(0, number, f"call_{number}", name),
        *(CallArguments(0, number, text) for text in arguments),
        CallEnded(0, number),
    ]


def writer_of(
    telling: WantedDetails = WantedDetails(), framing: Framing | None = MESSAGES, **fields: object
) -> ResponseWriter:
    raw = json.dumps({"model": "m", "input": "x", "tools": TOOLS} | fields).encode()
    read = read_request(BODY.decode(raw).body)
    return ResponseWriter(build_draft(read, "m"), read.tools.known, telling, framing)


def written(events: Sequence[Event], telling: WantedDetails = WantedDetails()) -> list[dict[str, Any]]:
    return check_events([json.loads(frame) for frame in writer_of(telling).write(events)])


def test_thoughts_come_before_the_message_as_an_item_of_their_own() -> None:
    events = written([ReasoningDelta(0, "let me"), ReasoningDelta(0, " see"), TextDelta(0, "yes"), end()])
    assert kinds_of(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *(*MESSAGE, *MESSAGE_END, "completed"),
    ]
    thought, said = events[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "let me see"}]
    assert (thought["summary"], thought["id"][:3]) == ([], "rs_")
    assert said["content"][0]["text"] == "yes"
    assert events[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] == 3


def test_thoughts_are_told_as_a_summary_where_one_is_wanted() -> None:
    events = written([ReasoningDelta(0, "hm"), TextDelta(0, "yes"), end()], WantedDetails(summary=True, sealed=True))
    assert kinds_of(events)[2:8] == [
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
    ]
    thought = events[-1]["response"]["output"][0]
    assert thought["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert open_text(thought["encrypted_content"]) == "hm"


def test_the_arguments_of_a_call_come_in_pieces() -> None:
    events = written([TextDelta(0, "so"), *call("look", '{"a"', ":1}"), end(FinishReason.TOOL_CALLS)])
    assert kinds_of(events) == [
        *("created", "in_progress", *MESSAGE, *MESSAGE_END, "output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    assert text_of(events, "function_call_arguments") == '{"a":1}'
    item = events[-1]["response"]["output"][1]
    assert item["id"].startswith("fc_")
    assert (item["call_id"], item["name"], item["arguments"]) == ("call_0", "look", '{"a":1}')


def test_calls_after_one_another_are_items_of_their_own_and_text_after_them_too() -> None:
    events = written(
        [*call("look", "{}"), *call("files__read", "{}", number=1), TextDelta(0, "done"), end(FinishReason.TOOL_CALLS)]
    )
    first, second, said = events[-1]["response"]["output"]
    assert (first["name"], "namespace" in first) == ("look", False)
    assert (second["name"], second["namespace"]) == ("read", "files")
    assert said["type"] == "message"
    assert [event["output_index"] for event in events if event["type"].endswith("item.added")] == [0, 1, 2]


def test_a_custom_tool_gets_its_input_without_the_wrapping() -> None:
    text = '*** "begin"\n\N{CHEESE WEDGE}'
    arguments = json.dumps({"input": text})
    events = written([*call("patch", *arguments), end(FinishReason.TOOL_CALLS)])
    assert kinds_of(events)[2] == "output_item.added"
    assert kinds_of(events)[-3:] == ["custom_tool_call_input.done", "output_item.done", "completed"]
    deltas = [event["delta"] for event in events if event["type"].endswith("input.delta")]
    assert (len(deltas), "".join(deltas)) == (len(text), text)
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["input"], item["id"][:4]) == ("custom_tool_call", text, "ctc_")


@pytest.mark.parametrize("written_so_far", [wrap_custom_input("*** beg")[:-2], wrap_custom_input("*** beg") + "}"])
def test_an_input_that_is_not_whole_is_told_as_far_as_it_goes(written_so_far: str) -> None:
    events = written([*call("patch", *written_so_far)[:-1], CallEnded(0, 0, False), end(FinishReason.LENGTH)])
    item = events[-1]["response"]["output"][0]
    assert (item["input"], item["status"]) == ("*** beg", "incomplete")
    assert text_of(events, "custom_tool_call_input") == "*** beg"


def test_an_input_in_another_form_is_told_as_it_stands() -> None:
    events = written([*call("patch", '{"in', 'put": 5}'), end(FinishReason.TOOL_CALLS)])
    assert events[-1]["response"]["output"][0]["input"] == text_of(events, "custom_tool_call_input") == '{"input": 5}'


def test_a_call_that_is_cut_is_an_item_that_is_incomplete() -> None:
    events = written([*call("look", '{"a": "b')[:-1], CallEnded(0, 0, False), end(FinishReason.LENGTH)])
    item = events[-1]["response"]["output"][0]
    assert (events[-1]["type"], item["status"], item["arguments"]) == ("response.incomplete", "incomplete", '{"a": "b')


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    events = written([end()])
    assert kinds_of(events)[2:] == [MESSAGE[0], MESSAGE[1], *MESSAGE_END, "completed"]
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTEXT, FinishReason.LOOP])
def test_an_answer_that_is_cut_says_so_in_its_last_item(reason: FinishReason) -> None:
    last = written([TextDelta(0, "hal"), end(reason)])[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"]["reason"] == "max_output_tokens"
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_a_failure_in_the_middle_ends_the_stream_with_what_was_said() -> None:
    last = written([TextDelta(0, "hal"), Failed(EngineError("It broke."))])[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "It broke."}
    assert last["response"]["output"][0]["content"][0]["text"] == "hal"


def test_a_context_that_is_full_is_told_by_the_code_that_clients_know() -> None:
    last = json.loads(writer_of().write([Failed(ContextExceeded(9, 8))])[-1])
    assert last["response"]["error"]["code"] == "context_length_exceeded"


def test_what_was_cancelled_is_told_as_that() -> None:
    last = written([TextDelta(0, "hal"), Failed(Cancelled())])[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "cancelled")


def test_a_whole_response_is_the_fold_of_its_events() -> None:
    events = [ReasoningDelta(0, "hm"), TextDelta(0, "so"), *call("look", "{}"), end(FinishReason.TOOL_CALLS)]
    whole = json.loads(ResponseDialect(writer_of(framing=None)).reply(events))
    check_response(whole)
    streamed = written(events)[-1]["response"]

    def plain(response: dict[str, Any]) -> object:
        return [{**item, "id": ""} for item in response["output"]], response["usage"], response["status"]

    assert plain(whole) == plain(streamed)


def test_a_failed_response_that_is_not_streamed_is_an_error() -> None:
    with pytest.raises(EngineError):
        ResponseDialect(writer_of(framing=None)).reply([Failed(EngineError("It broke."))])


def test_events_of_a_lane_say_of_which_it_is() -> None:
    frames = writer_of(framing=frame_lane('a"b')).write([TextDelta(0, "x"), end()])
    assert {json.loads(frame)["stream_id"] for frame in frames} == {'a"b'}


def test_server_sent_events_carry_their_names() -> None:
    for frame in writer_of(framing=SERVER_SENT).write([TextDelta(0, "x"), end()]):
        name, data = frame.decode().removesuffix("\n\n").split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")


@settings(max_examples=30)
@given(st.text(), st.lists(st.text(max_size=3), max_size=8))
def test_any_text_arrives_as_it_was_written(thought: str, texts: list[str]) -> None:
    safe = [text.encode("utf-8", "replace").decode() for text in (thought, *texts)]
    events = written([ReasoningDelta(0, safe[0]), *(TextDelta(0, text) for text in safe[1:]), end()])
    assert text_of(events, "reasoning_text") == safe[0]
    assert text_of(events) == "".join(safe[1:])
