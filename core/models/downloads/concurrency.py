"""How many files are fetched at once, and whose turn is next."""

from __future__ import annotations

import threading


class Slots:
    """The lowest number goes first: what was queued earlier is finished earlier."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[int] = []
        self._turn = threading.Condition()

    def take(self, number: int, stop: threading.Event) -> bool:
        """Wait for a slot; False when `stop` was set first. Setting it wants a `wake` after it."""
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
        """Whoever waits looks at its `stop` again."""
        with self._turn:
            self._turn.notify_all()


class Seat:
    """The slot of one transfer, which may leave it for a while. Belongs to one thread after the first `take`."""

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
