"""Which connections make room first, where there are as many as there may be."""

from __future__ import annotations

from enum import Enum


class Rank(Enum):
    """Which connections make room first."""

    REFUSED = 0
    IDLE = 1
    UNASKED = 2
    BUSY = 3
