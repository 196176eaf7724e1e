"""Answers of models, read as their clients get them."""

from collections.abc import Sequence

from msgspec import Struct

from core.chat.answer import AnswerPlan, AnswerReader
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.events import Event, Finished, FinishReason, TextDelta, Timings, Usage, fold_events
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
    notes: list[str] = []
    plan = AnswerPlan(family, phase, {tool.name: tool for tool in tools}, **options)
    reader = AnswerReader(plan, 1, notes.append)
    events: list[Event] = []
    for piece in pieces:
        events += reader.read([TextDelta(0, piece)])
    events += reader.read([Finished(0, reason, Usage(), Timings())])
    (choice,) = fold_events(events).choices
    calls = tuple((call.name, call.arguments) for call in choice.tool_calls)
    return ReadAnswer(choice.text, choice.reasoning, calls, tuple(notes), choice.reason)


def cut_text(text: str, size: int) -> list[str]:
    """Pieces of so many characters each."""
    return [text[at : at + size] for at in range(0, len(text), size)]
