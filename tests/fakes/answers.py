"""Answers of models, read as their clients get them."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from core.chat.answer import AnswerPlan, AnswerReader
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.events import (
    CallArguments,
    CallBegun,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Timings,
    Usage,
    fold_events,
)
from core.requests import Tool

Call = tuple[str, str]


class ReadAnswer(Struct, frozen=True):
    """What came of a text."""

    said: str = ""
    thought: str = ""
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()
    reason: FinishReason = FinishReason.STOP


def read_pieces(
    family: ChatFamily,
    pieces: Sequence[str],
    tools: Sequence[Tool] = (),
    *,
    phase: ThinkingPhase = ThinkingPhase.BEFORE,
    reason: FinishReason = FinishReason.STOP,
    **options: bool,
) -> ReadAnswer:
    """The answer whose text came in these pieces."""
    events, notes = read_events(family, pieces, tools, phase=phase, reason=reason, **options)
    (choice,) = fold_events(events).choices
    calls = tuple((call.name, call.arguments) for call in choice.tool_calls)
    return ReadAnswer(choice.text, choice.reasoning, calls, tuple(notes), choice.reason)


def read_events(
    family: ChatFamily,
    pieces: Sequence[str],
    tools: Sequence[Tool] = (),
    *,
    phase: ThinkingPhase = ThinkingPhase.BEFORE,
    reason: FinishReason = FinishReason.STOP,
    **options: bool,
) -> tuple[list[Event], list[str]]:
    """The events of a text that came in these pieces, and what the board is told of it."""
    notes: list[str] = []
    plan = AnswerPlan(family, phase, {tool.name: tool for tool in tools}, **options)
    reader = AnswerReader(plan, 1, notes.append)
    events: list[Event] = []
    for piece in pieces:
        events += reader.read([TextDelta(0, piece)])
    return [*events, *reader.read([Finished(0, reason, Usage(), Timings())])], notes


def join_deltas(events: Sequence[Event]) -> list[Event]:
    """The same events, those of one kind that follow one another as one, without ids and numbers of tokens."""
    joined: list[Event] = []
    for event in events:
        if isinstance(event, CallBegun):
            joined.append(replace(event, id=""))
            continue
        if isinstance(event, Finished):
            joined.append(replace(event, usage=Usage()))
            continue
        if not isinstance(event, TextDelta | ReasoningDelta | CallArguments):
            joined.append(event)
            continue
        last = joined[-1] if joined else None
        if isinstance(last, TextDelta | ReasoningDelta | CallArguments) and type(last) is type(event):
            joined[-1] = replace(last, text=last.text + event.text)
        elif event.text:
            joined.append(replace(event, tokens=0))
    return joined


def cut_text(text: str, size: int) -> list[str]:
    """Pieces of so many characters each."""
    return [text[at : at + size] for at in range(0, len(text), size)]
