"""What a step does: decisions alone, no effects and no clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from core.serving.loops.costs import SIZES, StepCosts, find_size

STALL_SECONDS = 0.18
"""That a step with a chunk of a prompt may take beside running streams; it is what they wait for a token."""
FIRST_CHUNK_TOKENS = 32
"""While nothing is known."""
LEAST_CHUNK_TOKENS = 8
"""Fewer are hardly computed any sooner."""
SLOWED_FACTOR = 2.0
"""That chunks may slow down a prompt, against the best that is known, for streams not to wait longer. Where short steps
are slower than that, longer ones are taken: else a slow machine would compute next to nothing."""
HOPED_FACTOR = 2.0
"""That a size of chunks which was never seen may be faster than the next smaller one. Hoped for where a token costs so
much more than one ever did."""
LONGEST_TRIAL_SECONDS = 0.6
"""That a step may take which is to find out."""
ESTIMATE_PARTS = 8
"""Of a prompt that are estimated apart, since it becomes slower towards its end."""


def plan_step(pending: Sequence[int], batch: int, limit: int) -> list[int]:
    """How many tokens each running sequence computes in the next step.

    `pending` holds, those first whose turn came first, the tokens each sequence has not computed yet: one means that it
    decodes. Every decoding sequence gets its token; what is left of `batch` goes to prefill, in order. While anything
    decodes, prefill takes `limit` tokens at most, so that a long prompt never stalls a stream.
    """
    chunks = [1 if count == 1 else 0 for count in pending]
    decoding = sum(chunks)
    room = max(0, batch - decoding)
    if decoding:
        room = min(room, limit)
    for index, count in enumerate(pending):
        if count > 1 and room > 0:
            chunks[index] = min(count, room)
            room -= chunks[index]
    return chunks


def plan_whole_passes(due: Sequence[int], batch: int, limit: int) -> list[int]:
    """As `plan_step`, for passes that must not be divided: `due` holds the size of each sequence's next pass.

    Beside decoding sequences a single prompt gets one pass, the first, and none where `limit` is zero; else as many do
    as `batch` has room for.
    """
    chunks = [1 if count == 1 else 0 for count in due]
    decoding = sum(chunks)
    room = 0 if decoding and not limit else max(0, batch - decoding)
    for index, count in enumerate(due):
        if 1 < count <= room:
            chunks[index] = count
            room = 0 if decoding else room - count
    return chunks


class PromptChunk(Struct, frozen=True):
    """What a step could compute of a prompt, and what it takes."""

    tokens: int
    seconds: float
    """Of the whole step, streams included."""

    @property
    def rate(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)


class PrefillPace:
    """How fast prompts are computed, and how much of them beside running streams.

    A step beside streams takes STALL_SECONDS at most, as long as the prompt gets on in such steps; see SLOWED_FACTOR.
    Of the time, prefill takes `share` at most. A step counts as prefill's for what it takes beyond a step without
    prefill. What a chunk took of the streams' part is owed to them: the next chunk waits until they have had it, in
    steps of their own.
    """

    def __init__(self, share: float) -> None:
        """`share` is above zero; at one, every step has a chunk."""
        self._share = share
        self._costs = StepCosts()
        self._owed = 0.0
        """Seconds."""

    def limit(self, batch: int, left: int, depth: int, streams: int) -> int:
        """Prefill tokens of the next step if `streams` decode in it. The `left` ones lie `depth` deep in a prompt."""
        if self._owed > 0:
            return 0
        chunk = self._choose(min(batch, left), depth, streams)
        if chunk is None:
            return min(batch, FIRST_CHUNK_TOKENS)
        return left if left <= batch and self._takes_rest(chunk.tokens, left, depth) else chunk.tokens

    def observe(self, prefill: int, depth: float, streams: int, seconds: float) -> None:
        """A step computed `prefill` tokens of prompts, which lay `depth` deep in them on average, and beside them a
        token of each of `streams`."""
        if not prefill:
            self._costs.note_plain(streams, seconds)
            self._owed = max(0.0, self._owed - seconds)
            return
        self._costs.note_chunk(prefill, depth, streams, seconds)
        self._owed = max(0.0, self._owed + self._debt(streams, seconds)) if streams else 0.0

    def estimate_seconds(self, depth: int, tokens: int, batch: int, streams: int) -> float | None:
        """That computing `tokens` of a prompt will take from `depth` on, beside so many streams; None while unknown."""
        if not self._costs.least:
            return None
        return sum(self._estimate_part(*part, batch, streams) for part in _divide(depth, tokens))

    def _estimate_part(self, depth: int, tokens: int, batch: int, streams: int) -> float:
        chunk = self._choose(batch, depth, streams)
        if chunk is None or not streams:
            return tokens * self._list_costs(min(batch, tokens), depth)[-1]
        return tokens / chunk.tokens * (chunk.seconds + max(0.0, self._debt(streams, chunk.seconds)))

    def _debt(self, streams: int, seconds: float) -> float:
        """What streams are to have of the time behind a step with a chunk; below zero where it gave them more."""
        plain = min(self._costs.plain(streams), seconds)
        return (seconds - plain) * (1 - self._share) / self._share - plain

    def _choose(self, batch: int, depth: int, streams: int) -> PromptChunk | None:
        """Of `batch` tokens at most; None while nothing is known."""
        plain, costs = self._costs.plain(streams), self._list_costs(SIZES[-1], depth)
        if not costs:
            return None
        chunk = choose_chunk(plain, costs[: find_size(batch) + 1], batch)
        trial = self._find_trial(plain, costs, chunk, batch)
        return trial if trial is not None else chunk

    def _find_trial(self, plain: float, costs: Sequence[float], chunk: PromptChunk, batch: int) -> PromptChunk | None:
        """A chunk of a size that was never seen, where that may be better than `chunk`: shorter than a long one, or as
        fast as a token ever was. None where there is no need, or where finding out would take too long."""
        long = chunk.seconds > max(STALL_SECONDS, SLOWED_FACTOR * plain)
        cost = costs[find_size(chunk.tokens)]
        slow = cost >= HOPED_FACTOR * self._costs.least
        for size, tokens in enumerate(SIZES[: find_size(batch) + 1]):
            if self._costs.knows(size) or not (long if tokens < chunk.tokens else slow):
                continue
            larger = next((costs[at] for at in range(size, len(costs)) if self._costs.knows(at)), None)
            hoped = larger if larger is not None else costs[size] / HOPED_FACTOR
            if tokens > chunk.tokens and hoped * HOPED_FACTOR > cost:
                continue
            seconds = plain + tokens * hoped
            return PromptChunk(tokens, seconds) if seconds <= LONGEST_TRIAL_SECONDS else None
        return None

    def _takes_rest(self, tokens: int, left: int, depth: int) -> bool:
        """Whether what a chunk of `tokens` leaves of `left` ones is too little for a step of its own."""
        size, rest = find_size(tokens), left - tokens
        costs = self._list_costs(left, depth)
        return 0 < rest < SIZES[size] and costs[find_size(rest)] > SLOWED_FACTOR * costs[size]

    def _list_costs(self, batch: int, depth: int) -> list[float]:
        """Seconds a token at that depth in chunks of each size that a batch can hold; empty while nothing is known."""
        return self._costs.list_each(find_size(batch) + 1, depth)


def choose_chunk(plain: float, costs: Sequence[float], batch: int) -> PromptChunk:
    """What a step should compute of a prompt beside streams that take `plain` seconds of it.

    `costs` are seconds a token in chunks of each of SIZES, as many as `batch` tokens can be divided into. Of what keeps
    to STALL_SECONDS the fastest, unless that slows the prompt by more than SLOWED_FACTOR; then the shortest of what
    does not, or else the fastest there is.
    """
    least = 1 / (SLOWED_FACTOR * min(costs))
    short = [_fill(size, cost, plain, (STALL_SECONDS - plain) / cost, batch) for size, cost in enumerate(costs)]
    fitting = [chunk for chunk in short if chunk.seconds <= STALL_SECONDS]
    fastest = max(fitting, key=lambda chunk: chunk.rate, default=None)
    if fastest is not None and fastest.rate >= least:
        return fastest
    # At `least` tokens a second, of which the streams take `plain` seconds of each step.
    wanted = [
        _fill(size, cost, plain, math.ceil(least * plain / (1 - least * cost)) if least * cost < 1 else batch, batch)
        for size, cost in enumerate(costs)
    ]
    enough = [chunk for chunk in wanted if chunk.rate >= least]
    if enough:
        return min(enough, key=lambda chunk: chunk.seconds)
    return max((*wanted, *fitting), key=lambda chunk: chunk.rate)


def _fill(size: int, cost: float, plain: float, tokens: float, batch: int) -> PromptChunk:
    """A chunk of that size number with as near to so many tokens as such a chunk may have."""
    most = min(batch, 2 * SIZES[size] - 1)
    count = int(max(min(LEAST_CHUNK_TOKENS, batch) if not size else SIZES[size], min(most, tokens)))
    return PromptChunk(count, plain + count * cost)


def _divide(depth: int, tokens: int) -> Iterator[tuple[int, int]]:
    """Parts of a prompt: the depth in the middle of each, and its tokens."""
    part = -(-tokens // ESTIMATE_PARTS)
    for begin in range(0, tokens, part or 1):
        count = min(part, tokens - begin)
        yield depth + begin + count // 2, count
