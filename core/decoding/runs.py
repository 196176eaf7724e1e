"""Where the same few tokens occurred before in a text, and how far back what stands before them agrees as well."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from msgspec import Struct

RUN_TOKENS = 3
"""A run is found again by its last tokens, so many: shorter ones recur everywhere and foretell little."""
MOST_CANDIDATES = 16
"""Earlier places that are compared, the latest first."""
LONGEST_RUN_TOKENS = 64
"""Agreement beyond it tells no more."""


class Occurrence(Struct, frozen=True):
    """A run stood in the text before: it ended in front of `end`, and `length` tokens agree."""

    end: int
    length: int


class RunIndex:
    """The runs of one text that only grows. The text itself is the caller's, and is given with each call."""

    def __init__(self) -> None:
        self._latest: dict[int, int] = {}
        """By a run's last tokens, where it ended last."""
        self._before = array("i")
        """For the end of each run, from the text's first on, where the same tokens ended the time before; -1 for never.
        So all places can be walked through, the latest first."""

        self.learned = 0
        """Runs that end behind so many tokens or fewer are known."""

    def learn(self, text: Sequence[int], end: int) -> None:
        """Know the runs of the text's first `end` tokens."""
        self.learned = max(self.learned, end)
        first = len(self._before)
        if end - first < RUN_TOKENS:
            return
        latest, before = self._latest, self._before
        fresh = text[first:end]
        for at, (one, two, three) in enumerate(zip(fresh, fresh[1:], fresh[2:], strict=False), first + RUN_TOKENS):
            key = _pack(one, two, three)
            before.append(latest.get(key, -1))
            latest[key] = at

    def find(self, text: Sequence[int], tail: Sequence[int], near: int = -1) -> Occurrence | None:
        """The longest run at the end of `tail` that stands in `text` too, with a token behind it, which is never
        negative; of runs alike the one that ended soonest behind `near`, else the latest."""
        if len(tail) < RUN_TOKENS:
            return None
        end = self._latest.get(_pack(*tail[-RUN_TOKENS:]), -1)
        best: Occurrence | None = None
        for _ in range(MOST_CANDIDATES):
            if end < 0:
                break
            length = count_agreeing(text, end, tail) if text[end] >= 0 else 0
            if length >= RUN_TOKENS and (
                best is None or length > best.length or (length == best.length and 0 <= near < end < best.end)
            ):
                best = Occurrence(end, length)
            end = self._before[end - RUN_TOKENS]
        return best


def count_agreeing(text: Sequence[int], end: int, tail: Sequence[int]) -> int:
    """How many tokens in front of `end` are those at the end of `tail`."""
    most = min(end, len(tail), LONGEST_RUN_TOKENS)
    length = 0
    while length < most and text[end - 1 - length] == tail[-1 - length]:
        length += 1
    return length


def _pack(one: int, two: int, three: int) -> int:
    """One number for three tokens. No vocabulary is so large that two runs share one; compared they are anyway."""
    return (one << 42) | (two << 21) | three
