"""How often models were loaded, sent away and loaded again. It outlives each of their loads."""

from __future__ import annotations

import threading
from collections import Counter

from core.snapshots import LifeStats, UnloadCause

MOST_LIVES = 256
"""Models that are counted one by one; those that come later share one count."""


class ModelLife:
    """Counted on the event loop and on the model's thread, which do not count the same."""

    def __init__(self) -> None:
        self.loads = 0
        self.load_seconds = 0.0
        """Of all loads that came to a model."""
        self.load_failures = 0
        self.restarts = 0
        """Loads because its engine had failed."""
        self.unloads: Counter[UnloadCause] = Counter()

    def stats(self, name: str) -> LifeStats:
        return LifeStats(
            name, self.loads, self.load_seconds, self.load_failures, self.restarts, dict(self.unloads.copy())
        )


class Lives:
    """By the names that models are served under."""

    def __init__(self) -> None:
        self._lives: dict[str, ModelLife] = {}
        self._others = ModelLife()
        self._lock = threading.Lock()

    def find_life(self, name: str) -> ModelLife:
        """That of a model, its first where it had none."""
        with self._lock:
            if name not in self._lives and len(self._lives) >= MOST_LIVES:
                return self._others
            return self._lives.setdefault(name, ModelLife())

    def stats(self) -> tuple[LifeStats, ...]:
        """Those that were loaded or could not be; the last, with an empty name, is of all that are not told apart."""
        with self._lock:
            told = [life.stats(name) for name, life in self._lives.items()]
        return tuple(each for each in (*told, self._others.stats("")) if each.loads or each.load_failures)
