"""The slots in which files are fetched, and which file gets the next free one."""

from __future__ import annotations

import threading


class Slots:
    """The lowest number gets the next free slot, so downloads end in the order in which they were queued."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[int] = []
        self._turn = threading.Condition()

    def take(self, number: int, stop: threading.Event) -> bool:
        """Wait for a slot; False when `stop` is set before. Call `wake` after setting `stop`."""
        with self._turn:
            self._waiting.append(number)
            self._turn.wait_for(lambda: stop.is_set() or (self._free > 0 and min(self._waiting) == number))
            self._waiting.remove(number)
            if stop.is_set():
                self._turn.notify_all()
                return False
            self._free -= 1
            self._turn.notify_all()
            return True

    def give(self) -> None:
        with self._turn:
            self._free += 1
            self._turn.notify_all()

    def wake(self) -> None:
        """Have all waiting threads look at their `stop` again."""
        with self._turn:
            self._turn.notify_all()


class Seat:
    """The slot of one transfer, which gives it up while it waits. Belongs to one thread after the first `take`."""

    def __init__(self, slots: Slots, number: int, stop: threading.Event) -> None:
        self._slots = slots
        self._number = number
        self._stop = stop
        self._held = False

    def take(self) -> bool:
        """As `Slots.take`."""
        self._held = self._slots.take(self._number, self._stop)
        return self._held

    def give(self) -> None:
        """Idempotent."""
        if self._held:
            self._held = False
            self._slots.give()
