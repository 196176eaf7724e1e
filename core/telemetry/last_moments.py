"""What is done when something outside makes native code end the process: why is told, and what is to be kept is
written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Final
from weakref import WeakMethod

from core.telemetry.log import get_logger

MOMENT_SECONDS: Final = 2.0
"""That all who keep something may take together: nobody is served meanwhile."""
Keep = Callable[[str], None]
"""Is told in a sentence why the process ends."""
log = get_logger(__name__)


class LastMoments:
    """Those who have something to keep."""

    def __init__(self) -> None:
        self._keepers: list[WeakMethod[Keep]] = []

    def add(self, keep: Keep) -> None:
        """A method, for as long as its object is there."""
        self._keepers = [*(each for each in self._keepers if each() is not None), WeakMethod(keep)]

    def remove(self, keep: Keep) -> None:
        self._keepers = [each for each in self._keepers if each() not in (None, keep)]

    def spend(self, why: str) -> None:
        """Tell all why the process ends, on a thread each, and wait for them, but not for long. From any thread."""
        log.error(why)
        keepers = [keep for each in self._keepers if (keep := each()) is not None]
        threads = [threading.Thread(target=keep, args=(why,), daemon=True) for keep in keepers]
        for thread in threads:
            thread.start()
        end = time.monotonic() + MOMENT_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))


@cache
def open_last_moments() -> LastMoments:
    """Those of the process: native code that ends it asks for no workbench."""
    return LastMoments()
