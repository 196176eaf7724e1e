"""What it costs to read an answer for thoughts, words and calls, beside what the whole answer takes.

The reader alone, for answers of one kind and for calls of each family; then whole answers of the echo engine, which is
made to take as long for a token as a fast real one, to requests with tools and without, in short turns: the mask of
calls costs there, too. One answer without tools stands beside another one, as a control.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median, quantiles
from typing import Final, NamedTuple

from msgspec.structs import replace

from core.chat.answer import AnswerPlan, AnswerReader
from core.chat.chatml import CHATML_WITH_TOOLS
from core.chat.parsers.family import ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.contract.options import LoadOptions
from core.decoding.masks.tools import MOST_FREE_TOOLS
from core.events import Event, Finished, FinishReason, TextDelta, Timings, Usage
from core.requests import Conversation, Generation, Message, Role, TextPart, Tool
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.bench.report import table
from tests.bench.turns import PASSES, PacedEcho, TurnSpent, TurnTaking
from tests.core.chat.parsers.examples import EXAMPLES, TOOLS, Written

TOKENS: Final = 5_000
ROUNDS: Final = 5
MANY_TOOLS: Final = MOST_FREE_TOOLS + 1
"""For which there is no mask, so that reading the calls is all that is to be done."""
ASKED_TOOLS: Final = (0, 0, 1, MANY_TOOLS)
"""Of requests whose answers are compared; the second is the control of the first."""
PASS_SECONDS: Final = 0.0012
"""That a pass of a model of half a billion weights takes on a fast accelerator: any other takes longer."""
REAL_RATE: Final = 100.0
"""Tokens a second of a stream, for comparison: a small model on a processor."""
TOOL: Final = Tool("write", "", '{"type":"object","properties":{"text":{"type":"string"}}}')
WORDS: Final = ["The", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog,", "and", "so", "on.\n"]
HEAD: Final = '<tool_call>{"name": "write", "arguments": {"text": "'
TAIL: Final = '"}}</tool_call>'
CITY: Final = "Paris"
"""An argument of the examples, which may be of any length."""


async def run() -> str:
    """The tables, in Markdown."""
    texts = _write_answers("".join(_list_words()).replace("\n", ""))
    whole = table(
        f"Answers of {TOKENS:,} tokens of the echo engine, a pass of {PASS_SECONDS * 1e3:g} ms for each token",
        ("answer", "tools", "of without", "middle half of turns", "processor, us a token", "more, us", "of a pass"),
        [row async for row in _answer_rows(texts)],
    )
    return f"{_tell_kinds()}\n{_tell_families()}\n{whole}"


def _list_words() -> list[str]:
    return [f" {WORDS[number % len(WORDS)]}" for number in range(TOKENS)]


def _tell_kinds() -> str:
    words = _list_words()
    quoted = [word.replace("\n", "\\n") for word in words]
    answers = {
        "words": words,
        "a thought": ["<think>", *words, "</think>"],
        "a call with a long text": [HEAD, *quoted, TAIL],
        "a call with many values": [HEAD[:-1], "[", *["1", ", "] * (TOKENS // 2), "1]}}</tool_call>"],
        "marks that never end": ["<tool_call>"] * TOKENS,
    }
    family = choose_family(CHATML_WITH_TOOLS)
    assert family is not None
    plan = AnswerPlan(family, ThinkingPhase.BEFORE, {TOOL.name: TOOL})
    spent = {kind: _read_seconds(plan, pieces) / len(pieces) for kind, pieces in answers.items()}
    head = ("answer", "us a token", f"at {REAL_RATE:.0f} tokens a second")
    rows = [(kind, each * 1e6, f"{each * REAL_RATE:.3%}") for kind, each in spent.items()]
    return table(f"Reading an answer of {TOKENS:,} tokens", head, rows)


def _tell_families() -> str:
    head = ("family, by an example of a call", "words, us a token", "a call, us a token", "of a pass")
    title = f"Reading a call with a text of {TOKENS:,} tokens, of each family, a pass of {PASS_SECONDS * 1e3:g} ms"
    return table(title, head, _family_rows())


def _family_rows() -> Iterator[tuple[object, ...]]:
    # Without lines and quotes, which families write in different ways.
    words = [word.replace("\n", "") for word in _list_words()]
    for name, example in _choose_examples().items():
        family = choose_family(example.template)
        assert family is not None
        plan = AnswerPlan(family, example.phase, {tool.name: tool for tool in TOOLS})
        before, _, after = example.text.partition(CITY)
        said, called = _read_seconds(plan, words), _read_seconds(plan, [*before, *words, *after])
        worse = max(said, called) / TOKENS
        yield name, 1e6 * said / TOKENS, 1e6 * called / TOKENS, f"{worse / PASS_SECONDS:.2%}"


def _choose_examples() -> Mapping[str, Written]:
    """One a template that has a call in which the city stands once."""
    found: dict[str, tuple[str, Written]] = {}
    for name, example in EXAMPLES.items():
        if example.text.count(CITY) == 1 and any(CITY in arguments for _, arguments in example.read.calls):
            found.setdefault(example.template, (name, example))
    return dict(found.values())


def _read_seconds(plan: AnswerPlan, pieces: Sequence[str]) -> float:
    """Of the processor."""
    return min(_read_once(plan, pieces) for _ in range(ROUNDS))


def _read_once(plan: AnswerPlan, pieces: Sequence[str]) -> float:
    reader = AnswerReader(plan, 1, lambda _: None)
    events: list[Event] = [TextDelta(0, piece) for piece in pieces]
    began = time.thread_time()
    for event in events:
        reader.read([event])
    reader.read([Finished(0, FinishReason.STOP, Usage(), Timings())])
    return time.thread_time() - began


def _write_answers(text: str) -> Mapping[str, str]:
    """By their kind; a letter is a token."""
    return {"words": text[:TOKENS], "a call": HEAD + text[: TOKENS - len(HEAD) - len(TAIL)] + TAIL}


async def _answer_rows(texts: Mapping[str, str]) -> AsyncIterator[tuple[object, ...]]:
    for kind, text in texts.items():
        spent = await _answer_in_turns(text)
        used = median(turn.processor for turn in spent[0]) / PASSES
        for number, (tools, turns) in enumerate(zip(ASKED_TOOLS, spent, strict=True)):
            ratios = [turn.seconds / plain.seconds for turn, plain in zip(turns, spent[0], strict=False)]
            low, middle, high = quantiles(ratios, n=4)
            each = median(turn.processor for turn in turns) / PASSES
            more = each - used
            asked = "0, control" if number == 1 else tools
            yield kind, asked, middle, f"{low:.3f} to {high:.3f}", 1e6 * each, 1e6 * more, f"{more / PASS_SECONDS:.2%}"


async def _answer_in_turns(text: str) -> Sequence[Sequence[TurnSpent]]:
    """What the turns took of each answer, through hosts of their own, from the prompt to the last event."""
    turns = TurnTaking(len(ASKED_TOOLS))
    async with AsyncExitStack() as stack:
        asked = [await stack.enter_async_context(_prepare_answer(text, tools)) for tools in ASKED_TOOLS]

        async def answer(number: int) -> None:
            asking = asked[number]
            asking.model.take_turns(turns, number)
            try:
                await (await asking.host.submit(asking.request)).reply()
            finally:
                turns.end(number)

        await asyncio.gather(*map(answer, range(len(asked))))
    return turns.spent


class _Asking(NamedTuple):
    model: PacedEcho
    host: Host
    request: Generation


@asynccontextmanager
async def _prepare_answer(text: str, tools: int) -> AsyncIterator[_Asking]:
    """A host that has answered the same request before, with one token: it has computed the prompt, and compiled the
    mask of calls."""
    options = LoadOptions(ctx_size=65_536, slots=1)
    model = PacedEcho(options, lambda _: text, CHATML_WITH_TOOLS, PASS_SECONDS)
    host = Host("echo", lambda *_: LoadedModel(model, "echo"), max_queue=4, queue_timeout=60.0, slots=None)
    host.start()
    await host.ready()
    try:
        said = (Message(Role.USER, (TextPart("go"),)),)
        others = (replace(TOOL, name=f"write_{number}") for number in range(1, tools))
        prompt = Conversation(said, tools=(TOOL, *others) if tools else ())
        await (await host.submit(Generation(model="echo", prompt=prompt, max_tokens=1))).reply()
        yield _Asking(model, host, Generation(model="echo", prompt=prompt))
    finally:
        await host.stop()
