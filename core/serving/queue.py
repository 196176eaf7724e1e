"""The waiting room: bounded, and in the order of turns. Front ends put, the loop's thread takes.

A turn is a moment: that of the arrival, and behind it as long as the request's kind may have to wait for others. So
interactive requests go before batch ones, and none is overtaken by requests that come much later.
"""

from __future__ import annotations

import math
import threading
from bisect import insort
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from core.errors import QueueFull
from core.requests import Priority
from core.snapshots import QueueStats

Item = TypeVar("Item", bound=Hashable)

FIRST_GUESS_SECONDS = 5.0
"""Seconds a request is taken to last before any has finished."""
PATIENCE_SECONDS = {Priority.INTERACTIVE: 0.0, Priority.NORMAL: 10.0, Priority.BATCH: 40.0}
"""How much later a more urgent request may come and still go first: less, by the difference, than another's."""


def find_turn(arrived: float, priority: Priority) -> float:
    """When the turn of a request comes, by the clock that tells `arrived`; the earliest turn is served first."""
    return arrived + PATIENCE_SECONDS[priority]


def choose_yielding(running: Sequence[tuple[float, Priority]], turn: float, priority: Priority) -> int | None:
    """Which of the `running` requests, by their turns and priorities, gives its slot to one that found none; None where
    none does. Those for which nobody waits yield to others whose turn comes before theirs, the last turn first."""
    if priority is Priority.BATCH:
        return None
    later = [at for at, (its, of) in enumerate(running) if of is Priority.BATCH and its > turn]
    return max(later, key=lambda at: running[at][0], default=None)


class AdmissionQueue(Generic[Item]):
    """Bounded. `depth` requests may wait beyond the `slots` that are served at once; zero depth means no bound.

    What has arrived counts from the first moment (while it is tokenised, while the model loads), so a burst cannot
    slip past the bound.
    """

    def __init__(self, depth: int, slots: int) -> None:
        self._depth = depth
        self._slots = slots
        self._lock = threading.Lock()
        self._turns: dict[Item, float] = {}
        self._waiting: list[Item] = []
        """In the order of their turns; of the same turn, as they came."""
        self._arriving = 0
        self._active = 0
        self._mean_duration = FIRST_GUESS_SECONDS
        self._processed = self._rejected = self._timed_out = self._cancelled = self._looped = 0

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """Holds a seat for a request on its way to `put`. Raises QueueFull."""
        with self._lock:
            present = self._arriving + len(self._waiting) + self._active
            if self._depth and present >= self._depth + self._slots:
                self._rejected += 1
                raise QueueFull(self._depth, self._retry_after())
            self._arriving += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= 1

    def set_slots(self, slots: int) -> None:
        with self._lock:
            self._slots = slots

    def put(self, item: Item, turn: float) -> None:
        """Add an item; only within `arrival`, which has checked the bound."""
        with self._lock:
            self._turns[item] = turn
            insort(self._waiting, item, key=self._turns.__getitem__)

    def peek(self) -> Item | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def claim(self, item: Item) -> bool:
        """Take the item out to serve it. False when it was withdrawn meanwhile."""
        with self._lock:
            if not self._remove(item):
                return False
            self._active += 1
            return True

    def withdraw(self, item: Item, *, timed_out: bool) -> bool:
        """Take the item out unserved. False when it is being served already."""
        with self._lock:
            if not self._remove(item):
                return False
            if timed_out:
                self._timed_out += 1
            else:
                self._cancelled += 1
            return True

    def drain(self) -> list[Item]:
        """Take out all that wait, unserved."""
        with self._lock:
            items, self._waiting = self._waiting, []
            self._turns.clear()
            return items

    def waiting(self) -> list[Item]:
        with self._lock:
            return list(self._waiting)

    def done(self, duration: float, *, cancelled: bool) -> None:
        """A claimed item has ended, `duration` seconds after it was claimed."""
        with self._lock:
            self._active -= 1
            if cancelled:
                self._cancelled += 1
                return
            self._processed += 1
            self._mean_duration += 0.2 * (duration - self._mean_duration)

    def count_loop(self) -> None:
        """An answer was ended because it went round in a circle."""
        with self._lock:
            self._looped += 1

    def stats(self) -> QueueStats:
        with self._lock:
            return QueueStats(
                pending=len(self._waiting) + self._arriving,
                max_depth=self._depth,
                total_processed=self._processed,
                total_rejected=self._rejected,
                total_timed_out=self._timed_out,
                total_cancelled=self._cancelled,
                total_looped=self._looped,
            )

    def _remove(self, item: Item) -> bool:
        if self._turns.pop(item, None) is None:
            return False
        self._waiting.remove(item)
        return True

    def _retry_after(self) -> int:
        """Seconds until a seat should be free: one slot of `slots` ends every mean duration."""
        return min(60, max(1, math.ceil(self._mean_duration / self._slots)))
