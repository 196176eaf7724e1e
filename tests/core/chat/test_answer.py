"""Answers that a parser fails at: what was written reaches the client all the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.chat.answer import FAULTY, AnswerPlan, AnswerReader
from core.chat.parsers.family import CallSyntax, ChatFamily, GrammarTerms, ThinkingPhase
from core.chat.parsers.open_call import GrowingCall
from core.chat.parsers.unread import Reading, UnreadText
from core.events import (
    CallArguments,
    CallEnded,
    Event,
    Finished,
    FinishReason,
    TextDelta,
    Timings,
    TokenLogprob,
    Usage,
)
from core.requests import Tool

TOOL = Tool("now", "", "{}")


class Faulty(CallSyntax):
    """Fails at a call's third letter, after it has begun a call where it is to."""

    begins = ("<call>",)
    marks = begins

    def __init__(self, *, telling: bool) -> None:
        self._telling = telling

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        yield from unread.more(3)
        if self._telling:
            unread.take(2)
            GrowingCall(unread, "now").write("{")
        raise ZeroDivisionError

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        return ""


def logprob_of(token: int) -> TokenLogprob:
    return TokenLogprob("", b"", 0.0, (), token)


@pytest.mark.parametrize("telling", [False, True])
def test_an_answer_that_cannot_be_read_loses_neither_words_nor_tokens(telling: bool) -> None:
    notes: list[str] = []
    plan = AnswerPlan(ChatFamily("faulty", None, Faulty(telling=telling)), ThinkingPhase.BEFORE, {"now": TOOL})
    reader = AnswerReader(plan, 1, notes.append)
    texts = ("So ", "<ca", "ll>", "xyz", " end")
    events: list[Event] = []
    for number, text in enumerate(texts):
        events += reader.read([TextDelta(0, text, (logprob_of(number),), 1, None, (number,))])
    events += reader.read([Finished(0, FinishReason.STOP, Usage(), Timings())])
    told = [event for event in events if isinstance(event, TextDelta)]
    calls = [event for event in events if isinstance(event, CallArguments)]
    assert "".join(event.text for event in told) == ("Soz end" if telling else "".join(texts))
    assert sum(event.tokens for event in told) + sum(event.tokens for event in calls) == len(texts)
    of_words = [0, 4] if telling else list(range(len(texts)))
    assert [logprob.id for event in told for logprob in event.logprobs] == of_words
    assert [token for event in told for token in event.ids] == of_words
    assert notes == [FAULTY]
    assert [event.whole for event in events if isinstance(event, CallEnded)] == [False] * telling
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is (FinishReason.TOOL_CALLS if telling else FinishReason.STOP)
