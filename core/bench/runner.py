"""Measuring a loaded model through the very path that serves it."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from enum import Enum

import psutil
from msgspec import Struct

from core.events import Failed, Finished, ReasoningDelta, TextDelta
from core.requests import Generation, RawTokens, Sampling
from core.serving.stream import Stream

PROGRESS_SECONDS = 0.1
RATE_SECONDS = 1.0
"""Time over which a rate of the moment is taken: with many streams the tokens of a step come all at once."""
Submit = Callable[[Generation], Awaitable[Stream]]


class BenchPhase(Enum):
    PREFILL = "prefill"
    DECODE = "decode"


class Plan(Struct, frozen=True):
    """What to run. Prompts are random tokens, different in each round and stream, so that no cache can help."""

    prompt_tokens: int = 256
    new_tokens: int = 64
    rounds: int = 3
    streams: int = 1


class RoundStarted(Struct, frozen=True, tag="started"):
    round: int
    rounds: int
    """How many there will be."""


class Progress(Struct, frozen=True, tag="progress"):
    """Tokens so far in this round, all streams together; `rate` is that of the last second.

    A round decodes from its first token on, also while other streams still read their prompts: the rates along the way
    are those that `RoundDone.decode_rate` is the mean of.
    """

    round: int
    phase: BenchPhase
    tokens: int
    seconds: float
    rate: float


class RoundDone(Struct, frozen=True, tag="done"):
    """Tokens a second over all streams; the slowest stream's time to first token in seconds."""

    round: int
    prefill_rate: float
    decode_rate: float
    time_to_first_token: float


class Summary(Struct, frozen=True, tag="summary"):
    """Medians over the rounds; `decode_spread` is (largest - smallest) / median."""

    rounds: int
    prefill_rate: float
    decode_rate: float
    decode_spread: float
    time_to_first_token: float
    memory: int
    """Resident bytes of this process at the end."""


ROUND_HEAD = ("round", "prefill tokens/s", "decode tokens/s", "first token s")


def format_round(done: RoundDone) -> tuple[str, ...]:
    """A round in words, as wide as ROUND_HEAD."""
    rates = (f"{done.prefill_rate:.1f}", f"{done.decode_rate:.1f}", f"{done.time_to_first_token:.3f}")
    return (str(done.round), *rates)


BenchSample = RoundStarted | Progress | RoundDone | Summary


async def run_plan(model: str, plan: Plan, vocabulary: int, submit: Submit) -> AsyncGenerator[BenchSample, None]:
    """Run the plan and tell how it goes. Raises what submitting raises, and what ends a stream."""
    done: list[RoundDone] = []
    for number in range(1, plan.rounds + 1):
        yield RoundStarted(number, plan.rounds)
        tally = _Tally(number, plan)
        requests = [_request(model, plan, vocabulary) for _ in range(plan.streams)]
        streams = [asyncio.create_task(_run(submit, request, tally)) for request in requests]
        try:
            while not all(stream.done() for stream in streams):
                await asyncio.wait(streams, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                yield tally.progress()
                _raise_first(streams)
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        result = tally.result()
        done.append(result)
        yield result
    decode = [result.decode_rate for result in done]
    middle = statistics.median(decode)
    yield Summary(
        rounds=len(done),
        prefill_rate=statistics.median(result.prefill_rate for result in done),
        decode_rate=middle,
        decode_spread=(max(decode) - min(decode)) / middle if middle else 0.0,
        time_to_first_token=statistics.median(result.time_to_first_token for result in done),
        memory=psutil.Process().memory_info().rss,
    )


def _raise_first(streams: Sequence[asyncio.Task[None]]) -> None:
    """What ended a stream is what ends the measuring; the other streams are cancelled."""
    for stream in streams:
        if stream.done() and (error := stream.exception()) is not None:
            raise error


def _request(model: str, plan: Plan, vocabulary: int) -> Generation:
    prompt = tuple(secrets.randbelow(vocabulary) for _ in range(plan.prompt_tokens))
    return Generation(
        model=model,
        prompt=RawTokens(prompt),
        sampling=Sampling(temperature=0.0),
        max_tokens=plan.new_tokens,
        ignore_eos=True,
        cache=False,
        request_id=f"bench-{secrets.token_hex(4)}",
    )


class _Tally:
    """Counts the tokens of one round."""

    def __init__(self, number: int, plan: Plan) -> None:
        self._round = number
        self._plan = plan
        self._began = time.perf_counter()
        self._tokens = 0
        self._seen: deque[tuple[float, int]] = deque()
        """Tokens drawn at moments of the last second, from the first token on."""
        self._ends: list[tuple[float, Finished]] = []
        """When each stream was submitted, and its end."""

    def drawn(self, tokens: int) -> None:
        self._tokens += tokens

    def finished(self, submitted: float, end: Finished) -> None:
        self._ends.append((submitted, end))

    def progress(self) -> Progress:
        now = time.perf_counter()
        if not self._tokens:
            self._seen.clear()
        self._seen.append((now, self._tokens))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        phase = BenchPhase.DECODE if self._tokens else BenchPhase.PREFILL
        before, tokens = self._seen[0]
        rate = (self._tokens - tokens) / (now - before) if now > before else 0.0
        return Progress(self._round, phase, self._tokens, now - self._began, rate)

    def result(self) -> RoundDone:
        """From the loop's own clock: what an event tells of a token may come later than the token."""
        firsts = [submitted + end.timings.queued + end.timings.prefill for submitted, end in self._ends]
        lasts = [first + end.timings.decode for first, (_, end) in zip(firsts, self._ends, strict=True)]
        decoded = sum(end.usage.completion_tokens - 1 for _, end in self._ends)
        waited = max(firsts) - self._began
        return RoundDone(
            round=self._round,
            prefill_rate=len(self._ends) * self._plan.prompt_tokens / max(waited, 1e-9),
            decode_rate=decoded / max(max(lasts) - min(firsts), 1e-9),
            time_to_first_token=waited,
        )


async def _run(submit: Submit, request: Generation, tally: _Tally) -> None:
    stream = await submit(request)
    submitted = time.perf_counter()
    async for batch in stream:
        for event in batch:
            match event:
                case TextDelta(tokens=tokens) | ReasoningDelta(tokens=tokens):
                    tally.drawn(tokens)
                case Finished():
                    tally.finished(submitted, event)
                case Failed(error=error):
                    raise error
