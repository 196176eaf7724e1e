"""The devices of this machine: who is asked for them, how often, and on which thread."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from core.devices.apple import AppleDriver
from core.devices.device import Device, DeviceKind
from core.devices.driver import Driver, WatchedDriver
from core.devices.kernel import AmdDriver, IntelDriver
from core.devices.library import LibraryLooks, LibraryView, LlamaLibrary
from core.devices.nvml import NvmlDriver
from core.devices.survey import DeviceSurvey, is_same_memory, match_devices
from core.hardware import describe_machine, measure_available_memory
from core.telemetry.log import get_logger

FRESH_SECONDS: Final = 0.3
"""For so long the drivers' numbers are not asked for again."""
REFRESH_SECONDS: Final = 2.0
"""How old the numbers may be that gauges show."""
LOOK_SECONDS: Final = 10.0
"""How old the numbers may be of a device that no driver tells of, and the library alone; and how long a server that
did not answer is not asked again."""
KEPT_FILE: Final = "devices.json"
log = get_logger(__name__)


class DeviceLister:
    """Asks drivers and library. From any thread; the first question may take some seconds, and one more after that
    where a driver hangs."""

    def __init__(self, drivers: Sequence[Driver], library: LlamaLibrary) -> None:
        self._drivers = [WatchedDriver(driver) for driver in drivers]
        self._looks = LibraryLooks(library)
        self._lock = threading.Lock()
        """Held by the one that asks."""
        self._last: DeviceSurvey | None = None
        self._taken = float("-inf")
        self._refreshing = False

    def keep_in(self, folder: Path) -> None:
        """Keep what the library told in a file of this folder, over restarts."""
        self._looks.file = folder / KEPT_FILE

    def use_servers(self, servers: Iterable[str]) -> None:
        """Look for the devices of these RPC servers as well, from now on; each is `host:port`."""
        with self._lock:
            library = self._looks.library
            known = library.servers
            library.servers = tuple(dict.fromkeys((*known, *servers)))
            if library.servers != known:
                self._taken = float("-inf")

    def survey(self) -> DeviceSurvey:
        """All devices now. Blocks for as long as drivers and library take."""
        with self._lock:
            if self._last is None or time.monotonic() - self._taken > FRESH_SECONDS:
                self._last = self._ask(stale=LOOK_SECONDS)
                self._taken = time.monotonic()
            return _with_host(self._last)

    def peek(self) -> DeviceSurvey:
        """What is known, without waiting: the host alone until the first look has ended. Numbers that are older than
        REFRESH_SECONDS are asked for on a thread, for the next time."""
        if not self._refreshing and time.monotonic() - self._taken > REFRESH_SECONDS and not self._is_host_alone():
            self._refreshing = True
            threading.Thread(target=self._refresh, name="devices", daemon=True).start()
        return _with_host(self._last or DeviceSurvey((describe_host(),)))

    def _is_host_alone(self) -> bool:
        """Whether it is known that there is nothing to be told of again and again."""
        return self._last is not None and not (self._last.accelerators or self._last.unused or self._last.problems)

    def _refresh(self) -> None:
        try:
            with self._lock:
                self._last = self._ask(stale=float("inf"))
                self._taken = time.monotonic()
        finally:
            self._refreshing = False

    def _ask(self, stale: float) -> DeviceSurvey:
        """`stale`: seconds after which the library is asked anew for what no driver tells of, and for lost servers."""
        cards = tuple(card for driver in self._drivers for card in driver.read())
        hanging = [driver for driver in self._drivers if driver.hangs]
        host = describe_host()
        problems = [driver.problem for driver in self._drivers if driver.problem]
        if hanging:
            # The library would hang at the same driver.
            view = LibraryView(problem="llama.cpp was not asked for its devices, so models run on the processor.")
            return match_devices(host, cards, view, os.environ, problems)
        view = self._looks.find(cards)
        survey = match_devices(host, cards, view, os.environ, problems)
        alone = any(not _tells_live(each, cards) for each in view.devices)
        if (alone or view.lost) and self._looks.is_older(stale):
            survey = match_devices(host, cards, self._looks.find(cards, anew=True), os.environ, problems)
        return survey


def list_devices() -> tuple[Device, ...]:
    """The host first, then the accelerators that models can lie on. Blocks for as long as drivers and library take:
    some seconds the first time on a machine, milliseconds afterwards."""
    return open_lister().survey().devices


@cache
def open_lister() -> DeviceLister:
    """The one of this process: drivers are opened once in a process."""
    drivers: tuple[Driver, ...] = (AppleDriver(),) if sys.platform == "darwin" else (NvmlDriver(),)
    if sys.platform == "linux":
        drivers = (*drivers, AmdDriver(), IntelDriver())
    return DeviceLister(drivers, LlamaLibrary())


def _tells_live(device: Device, cards: Sequence[Device]) -> bool:
    """Whether what is free of a device is known without the library: by a driver, or as the host's memory."""
    if device.kind is DeviceKind.UNIFIED:
        return True
    return bool(device.address) and any(
        card.address == device.address and is_same_memory(card, device) for card in cards
    )


def describe_host() -> Device:
    here = describe_machine()
    return Device(here.processor, DeviceKind.HOST, here.memory, measure_available_memory())


def _with_host(survey: DeviceSurvey) -> DeviceSurvey:
    """The survey with the host's memory as it is now."""
    return replace(survey, devices=(describe_host(), *survey.accelerators))
