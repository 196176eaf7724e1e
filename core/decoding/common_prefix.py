"""How many tokens two sequences have in common from their beginning."""

from __future__ import annotations

from collections.abc import Sequence


def count_common(a: Sequence[object], b: Sequence[object]) -> int:
    """How many leading elements `a` and `b` have in common; both tuples or both lists."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    # Bisect with slice comparisons: they run in C, a loop over tokens does not.
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
