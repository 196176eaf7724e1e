"""Whether a model calls tools well, in about a minute: eight questions, each judged by what the model asked for.

It is asked as clients ask it, for the likeliest tokens: its chat template tells it of the tools, and its calls are read
out of what it writes. Nothing is masked, since a mask would hide what the model does by itself.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from core.bench.documents import ExportFormat, write_document
from core.bench.runner import Submit
from core.bench.tool_cases import TOOL_CASES, RightCall, ToolCase
from core.errors import BenchtopError, Cancelled
from core.events import FinishReason, ReplyChoice, fold_events
from core.foreign_text import make_printable
from core.requests import Conversation, Generation, ReasoningWish, SamplingWish, ToolCall

ANSWER_TOKENS: Final = 320
"""Of an answer at most, thought and all."""
THOUGHT_TOKENS: Final = 128
"""Of them for thinking, where the model thinks."""
QUOTED_CHARACTERS: Final = 80
"""Of what a model wrote that are quoted at most."""
TOOL_HEAD: Final = ("model", "case", "called", "right tool", "arguments fit", "right values", "seconds", "problem")
PARTS: Final = 4
"""Of a verdict that count: called, right tool, arguments fit, right values."""


class ToolVerdict(Struct, frozen=True):
    """How a model did in one case. Each part that holds is one point; what comes behind a part that does not, cannot
    hold either."""

    model: str
    case: str
    called: bool = False
    """As many calls as there should be; none, where none should be."""
    right_tool: bool = False
    fits: bool = False
    """The arguments are what the tool's schema asks for."""
    exact: bool = False
    """They say what was asked for, and so does an answer in words."""
    seconds: float = 0.0
    problem: str = ""
    """What went wrong, in words."""

    @property
    def points(self) -> int:
        return sum((self.called, self.right_tool, self.fits, self.exact))


class ToolScore(Struct, frozen=True):
    """Of all cases."""

    passed: int
    cases: int
    share: float
    """Of the points that there were, from 0 to 1."""

    def __str__(self) -> str:
        return f"{self.passed} of {self.cases} right, {self.share:.0%} of the points"


def count_score(verdicts: Sequence[ToolVerdict]) -> ToolScore:
    points = sum(verdict.points for verdict in verdicts)
    share = points / (PARTS * len(verdicts)) if verdicts else 0.0
    return ToolScore(sum(verdict.points == PARTS for verdict in verdicts), len(verdicts), share)


async def check_tools(model: str, submit: Submit, *, bounded: bool = True) -> AsyncGenerator[ToolVerdict, None]:
    """Ask the model each question, one after another. `bounded`: whether its tokens are drawn here, so that a thought
    can be held to THOUGHT_TOKENS. What hinders a single answer is told as its problem. Raises Cancelled."""
    for case in TOOL_CASES:
        began = time.perf_counter()
        try:
            choice = await _ask(model, case, submit, bounded=bounded)
        except Cancelled:
            raise
        except BenchtopError as error:
            verdict = ToolVerdict(model, case.title, problem=str(error))
        else:
            verdict = judge_answer(model, case, choice)
        yield msgspec.structs.replace(verdict, seconds=time.perf_counter() - began)


async def _ask(model: str, case: ToolCase, submit: Submit, *, bounded: bool) -> ReplyChoice:
    prompt = Conversation(case.build_messages(), tools=tuple(offer.declare() for offer in case.offers))
    request = Generation(
        model,
        prompt,
        SamplingWish(temperature=0.0),
        ANSWER_TOKENS,
        reasoning=ReasoningWish(budget=THOUGHT_TOKENS if bounded else None),
        request_id=f"tools-{secrets.token_hex(4)}",
    )
    stream = await submit(request)
    return fold_events([event async for batch in stream for event in batch]).choices[0]


def judge_answer(model: str, case: ToolCase, choice: ReplyChoice) -> ToolVerdict:
    """Seconds are left at zero."""
    calls = choice.tool_calls
    if len(calls) != len(case.calls):
        return ToolVerdict(model, case.title, problem=_tell_count(case, choice))
    if not case.calls:
        told = case.answer in choice.text
        problem = "" if told else f"It did not answer {case.answer}; {_quote(choice)}"
        return ToolVerdict(model, case.title, called=True, right_tool=True, fits=True, exact=told, problem=problem)
    wanted = sorted(right.tool for right in case.calls)
    if wrong := [call.name for call in calls if call.name not in wanted]:
        problem = f"It called {wrong[0]} in place of {wanted[0]}."
        return ToolVerdict(model, case.title, called=True, problem=problem)
    read = []
    for call in calls:
        try:
            right = next(each for each in case.calls if each.tool == call.name)
            read.append(RightCall(call.name, msgspec.json.decode(call.arguments, type=type(right.arguments))))
        except msgspec.DecodeError as error:
            problem = f"The arguments of {call.name} do not fit: {error}. It wrote {_shorten(call.arguments)}"
            return ToolVerdict(model, case.title, called=True, right_tool=True, problem=problem)
    problem = _find_difference(case.calls, read)
    return ToolVerdict(model, case.title, called=True, right_tool=True, fits=True, exact=not problem, problem=problem)


def _tell_count(case: ToolCase, choice: ReplyChoice) -> str:
    calls = choice.tool_calls
    if not case.calls:
        return f"It called {_name(calls)}, and should have answered in words."
    if not calls:
        return f"It called nothing; {_quote(choice)}"
    return f"It called {_name(calls)}: {len(calls)} in place of {len(case.calls)}."


def _name(calls: Sequence[ToolCall]) -> str:
    times = Counter(call.name for call in calls)
    return " and ".join(name if count == 1 else f"{name} {count} times" for name, count in times.items())


def _quote(choice: ReplyChoice) -> str:
    if not choice.text.strip():
        return "it came to no answer." if choice.reason is FinishReason.LENGTH else "it wrote nothing."
    return f"it wrote {_shorten(choice.text)}"


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:QUOTED_CHARACTERS]}..." if len(text) > QUOTED_CHARACTERS else text


def _find_difference(wanted: Sequence[RightCall], read: Sequence[RightCall]) -> str:
    """The first value that is not what was asked for; empty where all are. Calls may come in any order."""
    left = list(read)
    problem = ""
    for right in wanted:
        found = [(each, _compare(right.arguments, each.arguments, right.tool)) for each in left]
        same = next((each for each, difference in found if not difference), None)
        if same is not None:
            left.remove(same)
        else:
            problem = problem or found[0][1]
    return problem


def _compare(right: object, written: object, where: str) -> str:
    """What is different, in words. Case and blanks around a text do not count, nor does a line's end behind the last
    line; a number is as good with a point and without."""
    wanted, found = msgspec.to_builtins(right), msgspec.to_builtins(written)
    for key, value in wanted.items():
        if isinstance(value, dict):
            if difference := _compare(value, found[key], where):
                return difference
        elif _plain(value) != _plain(found[key]):
            told = _shorten(json.dumps(found[key], ensure_ascii=False))
            return f"`{key}` of {where} is {told}, not {json.dumps(value, ensure_ascii=False)}."
    return ""


def _plain(value: object) -> object:
    return value.strip().casefold() if isinstance(value, str) else value


def format_verdict(verdict: ToolVerdict) -> tuple[str, ...]:
    """A verdict in words, as wide as TOOL_HEAD."""
    parts = (verdict.called, verdict.right_tool, verdict.fits, verdict.exact)
    told = ("yes" if part else "no" for part in parts)
    seconds = f"{verdict.seconds:.1f}"
    return (make_printable(verdict.model), verdict.case, *told, seconds, make_printable(verdict.problem))


def export_verdicts(verdicts: Sequence[ToolVerdict], form: ExportFormat) -> str:
    """The verdicts as a document."""
    return write_document(form, TOOL_HEAD, [*map(format_verdict, verdicts)], verdicts)
