"""Whether measurements name a fastest at all: differences within the noise are told as such, with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

ENOUGH_ROUNDS: Final = 2
"""Rounds from which there is a spread at all."""
MEND: Final = "More rounds, or a machine with less else to do, would tell."


class Measured(Struct, frozen=True):
    """What a standing is judged by."""

    name: str
    decode: float
    """Median of the rounds' rates, tokens a second."""
    spread: float
    """(largest - smallest) / median of them."""
    rounds: int | None = None
    """None: more than one."""

    @property
    def range(self) -> float:
        """Tokens a second between the slowest round and the fastest."""
        return self.decode * self.spread

    @property
    def counted(self) -> bool:
        """Whether its rounds can have shown a spread."""
        return self.rounds is None or self.rounds >= ENOUGH_ROUNDS


class Standing(Struct, frozen=True):
    """The highest rate, and those it cannot be told from."""

    first: Measured | None = None
    """None: nothing was measured."""
    rivals: tuple[Measured, ...] = ()
    """Closer to the first than either one's rounds are to each other, fastest first."""
    others: int = 0
    """How many were measured besides the first."""

    @property
    def counted(self) -> bool:
        """False where rounds were too few to know the noise of what is compared."""
        compared = (self.first, *self.rivals) if self.first is not None else ()
        return all(each.counted for each in compared)

    @property
    def clear(self) -> bool:
        """Whether the first may be called the fastest."""
        return self.first is not None and not self.rivals

    @property
    def noise(self) -> float:
        """The largest spread among those that cannot be told apart."""
        return max((each.spread for each in (self.first, *self.rivals) if each is not None), default=0.0)

    @property
    def doubt(self) -> str:
        """A sentence that says why none is the fastest, and what to do; empty where one is."""
        if self.first is None:
            return "No engine could be measured."
        if not self.rivals:
            return ""
        if not self.counted:
            return "No winner: one round shows no spread, so the rates cannot be compared; measure more rounds."
        near = _join_words([f"{each.name} ({_rate(each.decode)} tok/s)" for each in (self.first, *self.rivals)])
        return f"No winner: {near} differ by less than their rounds do, which spread by up to {self.noise:.0%}. {MEND}"


def judge_standing(measured: Sequence[Measured]) -> Standing:
    """Of equals the earlier one is the first. One is faster than another where its median is above the other's by more
    than the rounds of either are apart: then its slowest round beats the other's median, and its median the other's
    fastest round."""
    if not measured:
        return Standing()
    order = sorted(measured, key=lambda each: -each.decode)
    first, rest = order[0], order[1:]
    return Standing(first, tuple(each for each in rest if not _is_faster(first, each)), len(rest))


def _is_faster(one: Measured, other: Measured) -> bool:
    known = one.counted and other.counted
    return known and one.decode - other.decode > max(one.range, other.range)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _join_words(words: Sequence[str]) -> str:
    """`a, b and c`; of many, the first three."""
    if len(words) > 4:
        return f"{', '.join(words[:3])} and {len(words) - 3} more"
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
