"""What a step does: decisions alone, no effects and no clock."""

from __future__ import annotations

from collections.abc import Sequence

STALL_SECONDS = 0.1
"""That a prefill chunk may hold up running streams."""
SMALLEST_CHUNK_TOKENS = 32
SMOOTHING_SHARE = 0.3


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


class PrefillPace:
    """How fast prompts are computed, and how much of them beside running streams.

    While anything decodes, prefill takes `share` of the time at most. A step counts as prefill's for what it takes
    beyond a step without prefill. What a chunk took of the streams' part is owed to them: the next chunk waits until
    they have had it, in steps of their own.
    """

    def __init__(self, share: float) -> None:
        """`share` is above zero; at one, every step has a chunk."""
        self._share = share
        self._rate = 0.0
        """Prompt tokens a second; zero while unknown."""
        self._plain = 0.0
        """Seconds that a step without prefill takes; zero while unknown, so that all of a step is prefill's."""
        self._owed = 0.0
        """Seconds."""

    def limit(self, batch: int) -> int:
        """Prefill tokens of the next step, if anything decodes in it."""
        if self._owed > 0:
            return 0
        return min(batch, max(SMALLEST_CHUNK_TOKENS, int(self._rate * STALL_SECONDS)))

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """A step computed `prefill` tokens of prompts, and beside them a token of each of `decoding` streams."""
        if not prefill:
            self._plain = _smooth(self._plain, seconds)
            self._owed = max(0.0, self._owed - seconds)
            return
        # Decoding sequences in the same pass make this an underestimate, which errs on the side of the streams.
        self._rate = _smooth(self._rate, prefill / max(seconds, 1e-6))
        if not decoding:
            self._owed = 0.0
            return
        plain = min(self._plain, seconds)
        self._owed = max(0.0, self._owed + (seconds - plain) * (1 - self._share) / self._share - plain)

    def estimate_seconds(self, tokens: int, *, beside: bool) -> float | None:
        """That computing so many prompt tokens will take, `beside` running streams or alone; None while unknown."""
        if not self._rate:
            return None
        return tokens / (self._rate * (self._share if beside else 1.0))


def _smooth(old: float, new: float) -> float:
    return old + (new - old) * SMOOTHING_SHARE if old else new
