"""How many guesses pay: by how likely each comes true, and by what a pass costs that verifies so many."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Tokens of passes that are told apart. Matrix kernels work in tiles, so the cost of a pass climbs in steps."""
STALE_STEPS = 256
"""Steps after which what a width cost is not believed any more."""
RECENT_PASSES = 3
"""Of one width; what the cheapest of them cost is believed."""
GROWTH_FACTOR = 2
"""A pass that was never tried may be so much wider than the widest one that was."""

REMEMBERED_GUESSES = 24
"""Of runs of one length; what came true before counts less and less."""
FIRST_WEIGHT_GUESSES = 4
"""As much as so many guesses counts what is believed before the first."""
LEAST_CHANCE_SHARE = 0.02
"""Guesses that are less likely to come true are not considered."""


class Odds:
    """How likely a guess comes true, by the length of the run that it goes by."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[float, float]] = {}
        """By class of lengths: guesses that came true, of so many."""

    def chance(self, run: int) -> float:
        """Of the token behind a run of so many."""
        true, tried = self._counts.get(_class(run), (0.0, 0.0))
        return (true + FIRST_WEIGHT_GUESSES * _expected(run)) / (tried + FIRST_WEIGHT_GUESSES)

    def learn(self, run: int, guessed: int, kept: int) -> None:
        """Of `guessed` tokens behind a run `kept` came true; those behind the first wrong one tell nothing."""
        for index in range(min(kept + 1, guessed)):
            key = _class(run + index)
            true, tried = self._counts.get(key, (0.0, 0.0))
            fading = min(1.0, REMEMBERED_GUESSES / (tried + 1))
            self._counts[key] = (fading * (true + (index < kept)), fading * (tried + 1))

    def chances(self, run: int, most: int) -> list[float]:
        """That the first guess comes true, the first two, and so on; shorter where that is next to impossible."""
        found: list[float] = []
        chance = 1.0
        for index in range(most):
            chance *= self.chance(run + index)
            if chance < LEAST_CHANCE_SHARE:
                break
            found.append(chance)
        return found


class PassCosts:
    """What passes cost in passes without guesses, by their width in tokens; learned while they run."""

    def __init__(self, plain: int) -> None:
        """`plain`: tokens of a pass without guesses."""
        self._plain = plain
        self._known: dict[int, deque[float]] = {}
        """By width, what the last passes cost."""
        self._seen: dict[int, int] = {}
        """By width, the step in which the last one was."""
        self._step = 0

    def learn(self, width: int, cost: float) -> None:
        key = _round_up(width)
        # Whatever disturbs the machine makes a pass dearer, and its tokens one by one would cost no more than this.
        self._known.setdefault(key, deque(maxlen=RECENT_PASSES)).append(min(cost, width / self._plain))
        self._seen[key] = self._step

    def list_widths(self, most: int) -> list[tuple[int, float]]:
        """For one more step: the widths up to `most` tokens that may be tried, each with what it is likely to cost. One
        between two that are known costs what lies between; one beyond them is taken for as cheap as the widest, so that
        it is tried."""
        self._step += 1
        known = {self._plain: 1.0}
        known |= {
            width: min(costs) for width, costs in self._known.items() if self._step - self._seen[width] < STALE_STEPS
        }
        widths = sorted(known)
        top = min(most, GROWTH_FACTOR * widths[-1])
        return [(width, _between(known, widths, width)) for width in WIDTHS if self._plain < width <= top]


def choose_counts(
    runs: Sequence[int],
    most: Sequence[int],
    odds: Odds,
    widths: Sequence[tuple[int, float]],
    *,
    drafting: Sequence[float] = (),
    least_gain: float = 1.0,
) -> list[int]:
    """How many guesses for each sequence make the most tokens a second; zeros where that is less than `least_gain`
    times as many as without.

    Guesses are taken in the order of their chances, whichever sequence they are for. `runs`: lengths of the runs that
    the guesses go by; `most` guesses for each; `widths`: passes and their costs; `drafting`: what each guess for
    a sequence costs to make, in passes without guesses; none costs anything where it is empty, and those for several
    sequences are made together.
    """
    count = len(runs)
    ranked = sorted(
        ((chance, index) for index, run in enumerate(runs) if run for chance in odds.chances(run, most[index])),
        key=lambda each: -each[0],
    )
    best, best_rate, gained, taken, rounds = 0, least_gain * count, float(count), 0, [0] * count
    for width, cost in widths:
        while taken < min(width - count, len(ranked)):
            chance, index = ranked[taken]
            gained += chance
            rounds[index] += 1
            taken += 1
        rate = gained / (cost + max((each * made for each, made in zip(drafting, rounds, strict=False)), default=0.0))
        if taken and rate > best_rate:
            best, best_rate = taken, rate
        if taken == len(ranked):
            break
    counts = [0] * count
    for _, index in ranked[:best]:
        counts[index] += 1
    return counts


def _class(run: int) -> int:
    """Lengths that are taken together: short ones stand alone."""
    return run if run < 8 else 5 + run.bit_length()


def _expected(run: int) -> float:
    """Before anything is known."""
    return (run + 2) / (run + 4)


def _round_up(width: int) -> int:
    return WIDTHS[min(bisect_left(WIDTHS, width), len(WIDTHS) - 1)]


def _between(known: dict[int, float], widths: Sequence[int], width: int) -> float:
    if width in known:
        return known[width]
    at = bisect_left(widths, width)
    if at == len(widths):
        return known[widths[-1]]
    low, high = widths[at - 1], widths[at]
    return known[low] + (known[high] - known[low]) * (width - low) / (high - low)
