"""An unstreamed reply is the fold of its events."""

from __future__ import annotations

from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Timings,
    Usage,
    fold_events,
)
from core.requests import ToolCall


def test_thoughts_text_and_calls_of_each_choice_are_put_together_apart() -> None:
    events: list[Event] = [
        ReasoningDelta(0, "Let me "),
        TextDelta(1, "No "),
        ReasoningDelta(0, "look."),
        TextDelta(0, "Looking."),
        CallBegun(0, 0, "call_a", "read"),
        CallArguments(0, 0, '{"path": '),
        CallArguments(0, 0, '"a.txt"}'),
        CallEnded(0, 0),
        TextDelta(1, "need."),
        CallBegun(0, 1, "call_b", "list"),
        CallArguments(0, 1, "{}"),
        CallEnded(0, 1),
        Finished(1, FinishReason.STOP, Usage(completion_tokens=2), Timings()),
        Finished(0, FinishReason.TOOL_CALLS, Usage(completion_tokens=9), Timings()),
    ]
    first, second = fold_events(events).choices
    assert (first.reasoning, first.text) == ("Let me look.", "Looking.")
    assert first.tool_calls == (ToolCall("call_a", "read", '{"path": "a.txt"}'), ToolCall("call_b", "list", "{}"))
    assert first.reason is FinishReason.TOOL_CALLS
    assert (second.reasoning, second.text, second.tool_calls) == ("", "No need.", ())
