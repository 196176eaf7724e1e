"""What it costs to read an answer for thoughts, words and calls, beside what the whole answer takes.

The reader alone, for answers of one kind; then whole answers of the echo engine, which is made to take as long for a
token as a fast real one, to requests with a tool and without, in turns: the mask of calls costs there, too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from statistics import median
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.chat.answer import AnswerPlan, AnswerReader
from core.chat.chatml import CHATML_WITH_TOOLS
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.decoding.masks.tools import MOST_FREE_TOOLS
from core.engines.echo import EchoModel
from core.events import Event, Finished, FinishReason, TextDelta, Timings, Usage
from core.requests import Conversation, Generation, Message, Role, TextPart, Tool
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.bench.report import table

TOKENS: Final = 5_000
ROUNDS: Final = 9
PACED_ROUNDS: Final = 2
MANY_TOOLS: Final = MOST_FREE_TOOLS + 1
"""For which there is no mask, so that reading the calls is all that is to be done."""
PASS_SECONDS: Final = 0.0012
"""That a pass of a model of half a billion weights takes on a fast accelerator: any other takes longer."""
REAL_RATE: Final = 100.0
"""Tokens a second of a stream, for comparison: a small model on a processor."""
TOOL: Final = Tool("write", "", '{"type":"object","properties":{"text":{"type":"string"}}}')
WORDS: Final = ["The", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog,", "and", "so", "on.\n"]
HEAD: Final = '<tool_call>{"name": "write", "arguments": {"text": "'
TAIL: Final = '"}}</tool_call>'


class PacedEcho(EchoModel):
    """An echo model whose passes take as long as those of a real one, and as little of the processor."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(PASS_SECONDS)
        return super().step(work)


class Spent(Struct, frozen=True):
    """Seconds, of the clock and of the processor."""

    seconds: float
    processor: float


async def run() -> str:
    words = [f" {WORDS[number % len(WORDS)]}" for number in range(TOKENS)]
    quoted = [word.replace("\n", "\\n") for word in words]
    answers = {
        "words": words,
        "a thought": ["<think>", *words, "</think>"],
        "a call with a long text": [HEAD, *quoted, TAIL],
        "a call with many values": [HEAD[:-1], "[", *["1", ", "] * (TOKENS // 2), "1]}}</tool_call>"],
        "marks that never end": ["<tool_call>"] * TOKENS,
    }
    rows = []
    for kind, pieces in answers.items():
        spent = _read_seconds(pieces) / len(pieces)
        rows.append((kind, spent * 1e6, f"{spent * REAL_RATE:.3%}"))
    alone = table(
        f"Reading an answer of {TOKENS:,} tokens", ("answer", "us a token", f"at {REAL_RATE:.0f} tokens a second"), rows
    )
    whole = table(
        f"Answers of {TOKENS:,} tokens of the echo engine, a pass of {PASS_SECONDS * 1e3:g} ms for each token",
        ("answer", "tools of the request", "seconds", "of without", "processor, us a token", "more than without"),
        [row async for row in _answer_rows(_write_answers("".join(words).replace("\n", "")))],
    )
    return f"{alone}\n{whole}"


def _read_seconds(pieces: Sequence[str]) -> float:
    family = choose_family(CHATML_WITH_TOOLS)
    assert family is not None
    return min(_read_once(family, pieces) for _ in range(ROUNDS))


def _read_once(family: ChatFamily, pieces: Sequence[str]) -> float:
    plan = AnswerPlan(family, ThinkingPhase.BEFORE, {TOOL.name: TOOL})
    reader = AnswerReader(plan, 1, lambda _: None)
    events: list[Event] = [TextDelta(0, piece) for piece in pieces]
    began = time.perf_counter()
    for event in events:
        reader.read([event])
    reader.read([Finished(0, FinishReason.STOP, Usage(), Timings())])
    return time.perf_counter() - began


def _write_answers(text: str) -> Mapping[str, str]:
    """By their kind; a letter is a token."""
    return {"words": text[:TOKENS], "a call": HEAD + text[: TOKENS - len(HEAD) - len(TAIL)] + TAIL}


async def _answer_rows(texts: Mapping[str, str]) -> AsyncIterator[tuple[object, ...]]:
    for kind, text in texts.items():
        spent: dict[int, list[Spent]] = {0: [], 1: [], MANY_TOOLS: []}
        for _ in range(PACED_ROUNDS):
            for tools, each in spent.items():
                each.append(await _answer_once(text, tools))
        seconds = median(one.seconds for one in spent[0])
        processor = median(one.processor for one in spent[0])
        for tools, each in spent.items():
            took, used = median(one.seconds for one in each), median(one.processor for one in each)
            yield kind, tools, took, took / seconds, 1e6 * used / TOKENS, 1e6 * (used - processor) / TOKENS


async def _answer_once(text: str, tools: int) -> Spent:
    """Through a host, from the prompt to the last event."""
    model = PacedEcho(LoadOptions(ctx_size=65_536, slots=1), lambda _: text, CHATML_WITH_TOOLS)
    host = Host("echo", lambda *_: LoadedModel(model, "echo"), max_queue=4, queue_timeout=60.0, slots=None)
    host.start()
    await host.ready()
    try:
        said = (Message(Role.USER, (TextPart("go"),)),)
        others = (replace(TOOL, name=f"write_{number}") for number in range(1, tools))
        prompt = Conversation(said, tools=(TOOL, *others) if tools else ())
        # The first request computes the prompt, and compiles the mask of calls.
        await (await host.submit(Generation(model="echo", prompt=prompt, max_tokens=1))).reply()
        began, before = time.perf_counter(), time.process_time()
        await (await host.submit(Generation(model="echo", prompt=prompt))).reply()
        return Spent(time.perf_counter() - began, time.process_time() - before)
    finally:
        await host.stop()
