"""Texts that go round in a circle: a model that has begun to repeat the same tokens exactly seldom stops."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_ROUNDS = 4
"""Rounds that a cycle must have made, so that a refrain is none."""
STRIDE_TOKENS = 16
"""Between two looks, which keeps the cost a token below that of a comparison."""


class LoopGuard:
    """Looks whether the last `bound` tokens of a text are one cycle, and at least LEAST_ROUNDS of it."""

    def __init__(self, bound: int) -> None:
        self._bound = max(bound, LEAST_ROUNDS)
        self._drawn = 0

    def has_looped(self, tokens: Sequence[int]) -> bool:
        """Told after each token with the whole text, whose last token is new; looks now and then only."""
        self._drawn += 1
        if self._drawn < self._bound or (self._drawn - self._bound) % STRIDE_TOKENS:
            return False
        return find_shortest_period(tokens[-self._bound :]) <= self._bound // LEAST_ROUNDS


def find_shortest_period(tokens: Sequence[int]) -> int:
    """The smallest p for which each token is the one p places before it; the length where there is none smaller.

    The failure function of Knuth, Morris and Pratt (1977).
    """
    borders = [0] * len(tokens)
    for place in range(1, len(tokens)):
        border = borders[place - 1]
        while border and tokens[place] != tokens[border]:
            border = borders[border - 1]
        borders[place] = border + (tokens[place] == tokens[border])
    return len(tokens) - borders[-1] if tokens else 0
