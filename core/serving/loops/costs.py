"""What steps take: learned from those that were done, and told of those to come. No clock of its own.

A pass costs what its streams cost and so much for each token of a prompt. That depends on how many tokens a pass holds
(kernels work on tiles of rows, and may be several times as fast from one number of rows on) and on how deep in its
prompt a token lies (attention looks at all before it). So there is a line over the depth for each size of chunks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

SMOOTHING_SHARE = 0.3
FADING_SHARE = 0.01
"""Of the weight of what was seen, that each further step takes away where a slope is fitted."""
SLOPE_TOKENS = 128
"""Of depth, over which steps must spread before a slope that is fitted to them is believed."""
SIZES = tuple(2**power for power in range(3, 15))
"""Tokens from which a size of chunks begins, up to the next one."""


class _CostLine:
    """Seconds a prompt token over the depth in the prompt. The level follows the last steps; the slope, which tells of
    what is far from them, is fitted to many."""

    __slots__ = ("_depth", "_fits", "_level", "least")

    def __init__(self) -> None:
        self._depth = self._level = 0.0
        self._fits = (0.0, 0.0, 0.0, 0.0, 0.0)
        """Weight, and weighted means: depth, seconds, depth * depth, depth * seconds."""
        self.least = 0.0
        """The smallest that was seen; zero while nothing was."""

    def add(self, depth: float, seconds: float) -> None:
        share = SMOOTHING_SHARE if self.least else 1.0
        self._depth += (depth - self._depth) * share
        self._level += (seconds - self._level) * share
        self.least = min(self.least, seconds) if self.least else seconds
        weight, *means = self._fits
        weight = weight * (1 - FADING_SHARE) + 1
        seen = (depth, seconds, depth * depth, depth * seconds)
        first, second, third, fourth = (mean + (new - mean) / weight for mean, new in zip(means, seen, strict=True))
        self._fits = (weight, first, second, third, fourth)

    def at(self, depth: float, slope: float) -> float:
        """Never less than what was ever seen: a line that was fitted to few steps may fall below nothing."""
        return max(self.least, self._level + slope * (depth - self._depth))

    def slope(self, usual: float) -> float:
        """Seconds a token for each token of depth. What lies close together says little of it: the noise of steps is
        larger. As long as that is all, it is the `usual` one."""
        _, depth, seconds, squares, products = self._fits
        trust = SLOPE_TOKENS**2
        return max(0.0, (products - depth * seconds + usual * trust) / (squares - depth * depth + trust))

    @property
    def spreads(self) -> bool:
        """Whether its slope is more its own than the usual one."""
        _, depth, _, squares, _ = self._fits
        return squares - depth * depth > SLOPE_TOKENS**2


class StepCosts:
    """The costs of one model's steps. One thread tells, any thread asks."""

    def __init__(self) -> None:
        self._lines = tuple(_CostLine() for _ in SIZES)
        self._plain: dict[int, float] = {}
        """Seconds of a step without prefill, by the number of streams."""

    def note_plain(self, streams: int, seconds: float) -> None:
        """A step computed a token of each of `streams`, and nothing else."""
        old = self._plain.get(streams)
        self._plain[streams] = seconds if old is None else old + (seconds - old) * SMOOTHING_SHARE

    def note_chunk(self, tokens: int, depth: float, streams: int, seconds: float) -> None:
        """A step computed `tokens` of prompts, which lay `depth` deep in them on average, beside `streams`."""
        spent = max(seconds - self.plain(streams), seconds / 16)
        self._lines[find_size(tokens)].add(depth, max(spent, 1e-9) / tokens)

    def plain(self, streams: int) -> float:
        """Seconds of a step without prefill; zero where there are no streams, and while nothing is known."""
        known: Mapping[int, float] = dict(self._plain)
        if not streams or not known:
            return 0.0
        return known[min(known, key=lambda count: abs(count - streams))]

    def list_each(self, count: int, depth: float) -> list[float]:
        """Seconds a prompt token at that depth, in chunks of each of the first `count` sizes; empty while nothing is
        known.

        Of a size that was not seen yet the next smaller one tells, else the next larger one. Of one that was seen at
        few depths the slope is that of the next smaller one.
        """
        slope = next((line.slope(0.0) for line in self._lines if line.spreads), 0.0)
        found: list[float | None] = []
        for line in self._lines:
            if line.least:
                slope = line.slope(slope)
            found.append(line.at(depth, slope) if line.least else None)
        if not self.least:
            return []
        return [next(cost for cost in (*found[size::-1], *found[size:]) if cost is not None) for size in range(count)]

    def knows(self, size: int) -> bool:
        """Whether chunks of that size were seen."""
        return self._lines[size].least > 0

    @property
    def least(self) -> float:
        """Seconds a prompt token at best, as far as was ever seen; zero while nothing is known."""
        return min((line.least for line in self._lines if line.least), default=0.0)


def find_size(tokens: int) -> int:
    """The number of the size that a chunk of so many tokens has; what is smaller than the first counts as that."""
    return max(0, bisect_right(SIZES, tokens) - 1)
