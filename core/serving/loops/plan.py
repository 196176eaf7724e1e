"""What a step does: pure decisions, no effects."""

from __future__ import annotations

from collections.abc import Sequence

STALL_SECONDS = 0.1
"""Seconds that a prefill chunk may hold up running streams."""
SMALLEST_CHUNK_TOKENS = 32


def plan_step(pending: Sequence[int], batch: int, prefill_limit: int) -> list[int]:
    """How many tokens each running sequence computes in the next step.

    `pending` holds, in order of admission, the tokens each sequence has not computed yet: one means that it decodes.
    Every decoding sequence gets its token; what is left of `batch` goes to prefill, oldest first. While anything
    decodes, prefill takes `limit_prefill` tokens at most, so that a long prompt never stalls a stream.
    """
    chunks = [1 if count == 1 else 0 for count in pending]
    decoding = sum(chunks)
    room = max(0, batch - decoding)
    if decoding:
        room = min(room, prefill_limit)
    for index, count in enumerate(pending):
        if count > 1 and room > 0:
            chunks[index] = min(count, room)
            room -= chunks[index]
    return chunks


def plan_whole_passes(due: Sequence[int], batch: int) -> list[int]:
    """As `plan_step`, for passes that must not be divided: `due` holds the size of each sequence's next pass.

    Beside decoding sequences a single prompt gets one pass, the oldest; else as many do as `batch` has room for.
    """
    chunks = [1 if count == 1 else 0 for count in due]
    decoding = sum(chunks)
    room = max(0, batch - decoding)
    for index, count in enumerate(due):
        if 1 < count <= room:
            chunks[index] = count
            room = 0 if decoding else room - count
    return chunks


def limit_prefill(rate: float, batch: int) -> int:
    """Prefill tokens that fit between two tokens of a running stream, at `rate` tokens a second (zero: unknown)."""
    return min(batch, max(SMALLEST_CHUNK_TOKENS, int(rate * STALL_SECONDS)))
