"""Which texts of several requests a model computes in its next pass. Pure."""

from __future__ import annotations

from collections.abc import Sequence

WASTE_FACTOR = 1.5
"""Cells of a padded pass for each that holds a token, at most."""
FREE_CELLS = 256
"""Cells up to which padding costs less than another pass."""


def count_fitting(pending: Sequence[Sequence[int]], budget: int, *, padded: bool = True) -> list[int]:
    """How many texts of each request go into the next pass.

    `pending` are the lengths of what each request still waits for, each longest first; the first request is the one
    that is due. A pass holds `budget` tokens at most. A `padded` one is a rectangle, as long as its longest text: its
    cells count, and few of them may be padding. The first text is always taken, whatever its length.
    """
    taken = [0] * len(pending)
    rows = longest = held = 0
    for number, lengths in enumerate(pending):
        for length in lengths:
            cells = (rows + 1) * max(longest, length) if padded else held + length
            most = min(budget, max(FREE_CELLS, WASTE_FACTOR * (held + length))) if padded else budget
            if rows and cells > most:
                break
            rows, longest, held = rows + 1, max(longest, length), held + length
            taken[number] += 1
    return taken
