"""Which sequence is computed in which of the KV caches.

MNN's binding neither copies a KV cache nor hands it out, so a sequence is known by its tokens, and any cache that
begins with them can serve it. Each cache is a lane. As many lanes as sequences: one that lost its lane to a fork of
itself always finds another, and computes there again what it held.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.contract.step import SequenceId
from core.decoding.common_prefix import count_common
from core.engines.mnn.native import Llm, Rows


class KvLane:
    """A KV cache, the tokens in it, and whose it is."""

    def __init__(self, llm: Llm) -> None:
        self._llm = llm
        self.tokens: list[int] = []
        self.owner: SequenceId | None = None

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens."""
        del self.tokens[length:]

    def advance(self, tokens: Sequence[int], *, every: bool = False) -> Rows:
        """Compute further tokens; as `Llm.forward`."""
        rows = self._llm.forward(tokens, len(self.tokens), every=every)
        self.tokens += tokens
        return rows


def choose_lane(lanes: Sequence[KvLane], wanted: Sequence[int]) -> tuple[KvLane, int]:
    """The lane to compute a sequence of `wanted` tokens in, and how many of them it holds already.

    A lane that is another's is taken when it holds more than any free one, and most of what it holds is wanted.
    """
    best = max((lane for lane in lanes if lane.owner is None), key=lambda lane: count_common(lane.tokens, wanted))
    shared = count_common(best.tokens, wanted)
    for lane in lanes:
        common = count_common(lane.tokens, wanted)
        if lane.owner is not None and common > shared and 2 * common >= len(lane.tokens):
            best, shared = lane, common
    return best, shared
