"""How often, and after what pauses, a connection that fails is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct


class Stopped(Exception):
    """Somebody wants the work to end here; what is done so far is kept."""


class Transient(Exception):
    """It failed in a way that may pass by itself; the message is one sentence for users."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the server asks to wait, where it says so."""


class Patience(Struct, frozen=True):
    first: float = 1.0
    """Seconds of the first pause; each is twice the one before, give or take a quarter."""
    longest: float = 60.0
    attempts: int = 8
    """Failures in a row after which there is no further try; any progress begins a new row."""

    def pause(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds after the `failures`-th failure in a row. A server's wish is honoured up to five minutes."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), 300.0)
        doubled: float = self.first * 2.0 ** min(failures - 1, 32)
        return min(doubled, self.longest) * random.uniform(0.75, 1.25)


def persist(
    attempt: Callable[[], None],
    patience: Patience,
    rest: Callable[[float], bool],
    progress: Callable[[], int],
    retrying: Callable[[str, float], None],
) -> None:
    """Call `attempt` until it returns. `progress` counts what was achieved; `retrying` is told why each pause
    is made, and how many seconds it takes; `rest` lets them pass, and answers whether to stop.

    Raises Stopped as soon as it does, the last Transient when patience ends, and whatever else `attempt` raises.
    """
    failures, seen = 0, progress()
    while True:
        try:
            attempt()
        except Transient as failure:
            failures, seen = (failures + 1 if progress() == seen else 1), progress()
            if failures >= patience.attempts:
                raise
            seconds = patience.pause(failures, failure.retry_after)
            retrying(str(failure), seconds)
            if rest(seconds):
                raise Stopped from failure
        else:
            return
