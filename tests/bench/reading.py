"""What it costs to read an answer for thoughts, words and calls, beside what the whole answer takes.

The reader alone, for answers of one kind; then 5,000 tokens of the echo engine, which takes next to nothing itself,
with a template that knows tools and with one that does not, in turns: the mask that waits for calls costs there, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from core.chat.answer import AnswerPlan, AnswerReader
from core.chat.chatml import CHATML, CHATML_WITH_TOOLS
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.events import Event, Finished, FinishReason, TextDelta, Timings, Usage
from core.requests import Conversation, Generation, Message, Role, TextPart, Tool
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.bench.report import table

TOKENS: Final = 5_000
ROUNDS: Final = 9
REAL_RATE: Final = 100.0
"""Tokens a second of a stream, for comparison: a small model on a processor."""
TOOL: Final = Tool("write", "", '{"type":"object","properties":{"text":{"type":"string"}}}')
WORDS: Final = ["The", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog,", "and", "so", "on.\n"]
HEAD: Final = '<tool_call>{"name": "write", "arguments": {"text": "'


async def run() -> str:
    words = [f" {WORDS[number % len(WORDS)]}" for number in range(TOKENS)]
    quoted = [word.replace("\n", "\\n") for word in words]
    answers = {
        "words": words,
        "a thought": ["<think>", *words, "</think>"],
        "a call with a long text": [HEAD, *quoted, '"}}</tool_call>'],
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
    plain, read = await _answer_seconds("".join(words)[:TOKENS])
    whole = table(
        f"{TOKENS:,} tokens of the echo engine, with tools in the request",
        ("template", "seconds", "ratio"),
        (("without tools", plain, 1.0), ("with tools and thoughts", read, read / plain)),
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


async def _answer_seconds(text: str) -> tuple[float, float]:
    """Of a host that does not read, and of one that does, in turns."""
    spent: dict[str, list[float]] = {CHATML: [], CHATML_WITH_TOOLS: []}
    for _ in range(ROUNDS):
        for template, seconds in spent.items():
            seconds.append(await _answer_once(template, text))
    return median(spent[CHATML]), median(spent[CHATML_WITH_TOOLS])


async def _answer_once(template: str, text: str) -> float:
    model = EchoModel(LoadOptions(ctx_size=16_384, slots=1), lambda _: text, template)
    host = Host("echo", lambda *_: LoadedModel(model, "echo"), max_queue=4, queue_timeout=60.0, slots=None)
    host.start()
    await host.ready()
    try:
        prompt = Conversation((Message(Role.USER, (TextPart("go"),)),), tools=(TOOL,))
        # The first request compiles the mask of calls.
        await (await host.submit(Generation(model="echo", prompt=prompt, max_tokens=1))).reply()
        began = time.perf_counter()
        await (await host.submit(Generation(model="echo", prompt=prompt))).reply()
        return time.perf_counter() - began
    finally:
        await host.stop()
