"""Requests as lines, replies as text, and where two of them differ."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.capture.legible import compare_lines, list_lines, list_request_lines, read_answer
from tests.fakes.captured import exchange_of

LINES = st.lists(st.sampled_from("abc"), max_size=30)


def test_each_value_is_a_line_and_a_longer_text_is_several() -> None:
    value = {"model": "echo", "messages": [{"role": "user", "content": "one\ntwo"}], "stop": [], "n": 1, "seed": None}
    assert list_lines(value) == [
        "model: echo",
        "messages[0].role: user",
        "messages[0].content:",
        "  one",
        "  two",
        "stop: []",
        "n: 1",
        "seed: null",
    ]


def test_a_body_that_is_no_json_is_shown_as_it_is() -> None:
    plain = exchange_of("one")
    assert list_request_lines(plain) == ["model: echo"]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [
                {"choices": [{"delta": {"role": "assistant", "content": "Hel"}}]},
                {"choices": [{"delta": {"content": "lo"}}]},
            ],
            "Hello",
        ),
        (
            [
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hel"}},
                {"type": "content_block_delta", "delta": {"text": "lo"}},
            ],
            "Hello",
        ),
        (
            [
                {"type": "response.output_text.delta", "delta": "Hello"},
                {"type": "response.output_text.done", "text": "Hello"},
                {"type": "response.completed", "response": {"output": [{"content": [{"text": "Hello"}]}]}},
            ],
            "Hello",
        ),
        ([{"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]}}]}], '{"a":1}'),
        ([{"content": "Hello", "tokens": [1, 2], "timings": {"text": "no"}}], "Hello"),
        ([{"error": {"message": "It broke.", "type": "server_error"}}], "It broke."),
        (["nothing", None, [1]], ""),
    ],
)
def test_a_stream_is_read_as_one_text(events: list[object], said: str) -> None:
    stream = (
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b": ping\n\ndata: [DONE]\n\n"
    )
    assert read_answer(exchange_of("one", reply=stream, reply_type="text/event-stream; charset=utf-8")) == said


def test_a_whole_reply_and_one_of_lines_are_read_too() -> None:
    whole = {"choices": [{"message": {"content": "Hello"}, "logprobs": {"content": [{"token": "x", "text": "no"}]}}]}
    assert read_answer(exchange_of("one", reply=json.dumps(whole).encode())) == "Hello"
    lines = b'{"message": {"content": "Hel"}}\n{"message": {"content": "lo"}, "done": true}\n{"mess'
    assert read_answer(exchange_of("one", reply=lines, reply_type="application/x-ndjson")) == "Hello"
    assert read_answer(exchange_of("one", reply=b"\xff\xfe", reply_type="text/event-stream")) == ""


@given(LINES, LINES)
def test_what_is_the_same_gives_no_diff_and_what_is_not_gives_one(before: list[str], after: list[str]) -> None:
    found = compare_lines(before, after, ("a", "b"))
    assert bool(found) == (before != after)
    gone = [line[1:] for line in found[2:] if line.startswith("-")]
    new = [line[1:] for line in found[2:] if line.startswith("+")]
    assert len(before) - len(gone) == len(after) - len(new)


def test_a_hunk_counts_the_lines_that_are_the_same_before_it() -> None:
    before = [str(number) for number in range(100)]
    after = [*before[:50], "other", *before[51:]]
    found = compare_lines(before, after, ("a", "b"))
    assert found == ["--- a", "+++ b", "@@ -49,5 +49,5 @@", " 48", " 49", "-50", "+other", " 51", " 52"]


def test_what_differs_in_too_many_lines_is_not_matched_line_by_line() -> None:
    before, after = [[f"{side}{number}" for number in range(50_000)] for side in "ab"]
    found = compare_lines(before, after, ("a", "b"))
    assert "too many to be matched" in found[2]
    assert len(found) < 100


def test_a_body_of_any_depth_is_shown() -> None:
    for depth in range(900, 1000):
        body = b"[" * depth + b"7" + b"]" * depth
        assert "7" in "".join(list_request_lines(replace(exchange_of("one"), body=body)))
