"""How often, and after what pauses, a request that failed is sent again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

LONGEST_ASKED_SECONDS: Final = 300.0
"""The longest wait that a server may ask for; a longer one counts as this."""


class Stopped(Exception):
    """The user stopped the work; what is done so far is kept."""


class Transient(Exception):
    """A failure that may pass by itself; the message is one sentence for users."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the server asks to wait, where it says so."""


class Patience(Struct, frozen=True):
    first: float = 1.0
    """Seconds of the first pause; each is twice the one before, give or take a quarter, so that clients do not come
    back together."""
    longest: float = 60.0
    """Seconds of the longest pause."""
    attempts: int = 8
    """Failures in a row after which there is no further try; any progress begins a new row."""
    total: float = math.inf
    """Seconds from the first try on after which no further try begins."""

    def pause(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds after the `failures`-th failure in a row; what a server asks for counts, within reason."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), LONGEST_ASKED_SECONDS)
        doubled: float = self.first * 2.0 ** min(failures - 1, 32)
        return min(doubled, self.longest) * random.uniform(0.75, 1.25)


class Tries:
    """The tries of one request, from now on."""

    def __init__(self, patience: Patience, progress: int = 0) -> None:
        """`progress` is what was achieved before, as a count that only grows."""
        self._patience = patience
        self._progress = progress
        self._failures = 0
        self._began = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since the first try began."""
        return time.monotonic() - self._began

    def fail(self, retry_after: float | None = None, progress: int = 0) -> float | None:
        """Note a failure; the seconds until the next try, None where there is to be none."""
        self._failures = self._failures + 1 if progress == self._progress else 1
        self._progress = progress
        if self._failures >= self._patience.attempts:
            return None
        pause = self._patience.pause(self._failures, retry_after)
        return pause if self.waited + pause <= self._patience.total else None


def repeat_attempt(
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
    tries = Tries(patience, progress())
    while True:
        try:
            return attempt()
        except Transient as failure:
            if (seconds := tries.fail(failure.retry_after, progress())) is None:
                raise
            retrying(str(failure), seconds)
            if rest(seconds):
                raise Stopped from failure


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server wants to be asked again; None where it does not say. `headers` ignore case.

    RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    told = headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return float(told[:9])
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
