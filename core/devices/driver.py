"""Drivers: who tells live numbers of cards, and a watch on those that do not answer."""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from core.devices.device import Device
from core.telemetry.log import get_logger

ANSWER_SECONDS: Final = 4.0
"""That a driver may take before it counts as hanging. The first question wakes cards that sleep."""
log = get_logger(__name__)


class DriverFailed(Exception):
    """A driver tells nothing of its cards; the words are a sentence for users."""


class Driver(Protocol):
    """Reads the cards of one maker, on one thread."""

    maker: str
    """`NVIDIA`."""

    def read(self) -> tuple[Device, ...]:
        """Its cards now, in its own order, without ids; none where there is no such card. May block for ever.

        Raises DriverFailed.
        """
        ...


class WatchedDriver:
    """A driver on a thread of its own, so that one that hangs costs ANSWER_SECONDS once, and never the caller's thread.

    The thread is started with the first question. A driver that hangs is asked nothing until it has answered the
    question that it hangs at.
    """

    def __init__(self, driver: Driver, seconds: float = ANSWER_SECONDS) -> None:
        self.maker = driver.maker
        self._driver = driver
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._answered = threading.Event()
        self._answered.set()
        self._given_up = False
        self._thread: threading.Thread | None = None
        self._cards: tuple[Device, ...] = ()
        self._problem = ""

    @property
    def hangs(self) -> bool:
        return self._given_up and not self._answered.is_set()

    @property
    def problem(self) -> str:
        """Why its cards are missing or their numbers old, in a sentence; empty where they are not."""
        if self.hangs:
            return f"{self.maker}'s driver does not answer: its cards are left out until it does."
        return self._problem

    def read(self) -> tuple[Device, ...]:
        """Its cards; none while it hangs or fails, see `problem`. Blocks for `seconds` at most. From any thread."""
        with self._lock:
            if not self._answered.is_set():
                if self._given_up:
                    return ()
            else:
                self._given_up = False
                self._answered.clear()
                self._asked.set()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name=f"driver {self.maker}", daemon=True)
                    self._thread.start()
            if not self._answered.wait(self._seconds):
                self._given_up = True
                log.warning("a driver does not answer", maker=self.maker, seconds=self._seconds)
                return ()
            return self._cards

    def _serve(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            begun = time.monotonic()
            try:
                self._cards, self._problem = self._driver.read(), ""
            except DriverFailed as error:
                self._cards, self._problem = (), str(error)
            except Exception as error:  # noqa: BLE001 - foreign bindings may raise anything, and this loop goes on
                log.warning("a driver could not be read", maker=self.maker, why=repr(error))
                self._cards, self._problem = (), f"{self.maker}'s driver could not be read: {error}"
            log.debug("asked a driver", maker=self.maker, cards=len(self._cards), seconds=time.monotonic() - begun)
            self._answered.set()
