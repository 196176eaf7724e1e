"""Rates over the last few seconds, for gauges and for planning."""

from __future__ import annotations

import time
from collections import deque

WINDOW_SECONDS = 3.0


class RateMeter:
    """Events a second over a sliding window. One thread adds, any may read."""

    def __init__(self, window: float = WINDOW_SECONDS) -> None:
        self._window = window
        self._counts: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        now = time.monotonic()
        self._counts.append((now, count))
        while self._counts and self._counts[0][0] < now - self._window:
            self._counts.popleft()

    def rate(self) -> float:
        """Zero when nothing happened within the window."""
        now = time.monotonic()
        counts = [(at, count) for at, count in tuple(self._counts) if at >= now - self._window]
        if len(counts) < 2:
            return 0.0
        return sum(count for _, count in counts[1:]) / max(now - counts[0][0], 1e-6)
