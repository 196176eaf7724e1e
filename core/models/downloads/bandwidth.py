"""One bandwidth for all downloads together."""

from __future__ import annotations

import threading
import time


class Throttle:
    """Makes each thread that received bytes wait until the next bytes are due. For any number of threads."""

    def __init__(self, rate: int | None) -> None:
        """`rate`: bytes a second; None never waits."""
        self._rate = rate
        self._lock = threading.Lock()
        self._due = 0.0

    def took(self, count: int, stop: threading.Event) -> None:
        """Wait for the `count` bytes that were received; returns early when `stop` is set."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + count / self._rate
            wait = self._due - now
        stop.wait(wait)
