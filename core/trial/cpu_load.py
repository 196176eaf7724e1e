"""How busy a machine is with other things while something is measured on it."""

from __future__ import annotations

import os

import psutil
from msgspec import Struct

BUSY_SHARE = 0.2
"""Share of all processors that others may take before what is measured says little."""
TOO_SHORT_SECONDS = 0.2
"""Seconds of processor time, in all, below which nothing is told: the clocks tick a hundred times a second."""


class Times(Struct, frozen=True):
    """Seconds of processor time since the start, of all processors together."""

    whole: float
    """Busy and idle."""
    busy: float
    mine: float
    """Of child processes that have ended."""


def read_times() -> Times:
    times = psutil.cpu_times()
    # What guests take is counted among what users take already.
    idle = times.idle + getattr(times, "iowait", 0.0)
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    own = os.times()
    return Times(whole, whole - idle, own.children_user + own.children_system)


def measure_other_load(before: Times, after: Times) -> float:
    """Share of all processors, from 0 to 1, that was taken between the two by anything but the children."""
    whole = after.whole - before.whole
    if whole < TOO_SHORT_SECONDS:
        return 0.0
    taken = (after.busy - before.busy) - (after.mine - before.mine)
    return min(1.0, max(0.0, taken / whole))
