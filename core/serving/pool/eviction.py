"""Which models must go so that another fits: pure decisions on measured sizes. Nothing in use is ever chosen to go now.

Sizes are bytes, times seconds of one clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

RESERVED_BYTES = 8_000_000_000
RESERVED_SHARE = 0.2


class Occupant(Struct, frozen=True):
    """A model that is loaded, or being loaded."""

    name: str
    size: int
    """Bytes that it was measured to take; while it loads, those that it is expected to take."""
    used: float
    """When a request for it last began or ended."""
    busy: bool = False
    pinned: bool = False
    ttl: float = math.inf
    """Seconds it may be idle."""


class EvictionPlan(Struct, frozen=True):
    """There is room, as soon as these are gone."""

    evict: tuple[str, ...] = ()
    """Idle: they can go now, coldest first."""
    drain: tuple[str, ...] = ()
    """In use: they must finish their requests first."""


class NoRoom(Struct, frozen=True):
    """It would not fit if all that may go were gone: so many bytes are lacking."""

    lacking: int


def choose_memory_limit(memory: int) -> int:
    """Bytes that all models together may take: the system's memory less 8 GB or a fifth, whichever is less."""
    return memory - min(RESERVED_BYTES, int(memory * RESERVED_SHARE))


def make_room(occupants: Sequence[Occupant], need: int, limit: int) -> EvictionPlan | NoRoom:
    """What has to go for `need` bytes more: idle ones before busy ones, coldest first, none that is not needed.

    Pinned models stay.
    """
    excess = sum(each.size for each in occupants) + need - limit
    if excess <= 0:
        return EvictionPlan()
    movable = sorted((each for each in occupants if not each.pinned), key=lambda each: (each.busy, each.used))
    chosen: list[Occupant] = []
    freed = 0
    for each in movable:
        if freed >= excess:
            break
        chosen.append(each)
        freed += each.size
    if freed < excess:
        return NoRoom(excess - freed)
    for each in reversed(chosen[:-1]):
        # A small model was chosen first, and a large one after it may have made that needless.
        if freed - each.size >= excess:
            chosen.remove(each)
            freed -= each.size
    return EvictionPlan(
        tuple(each.name for each in chosen if not each.busy), tuple(each.name for each in chosen if each.busy)
    )


def list_expired(occupants: Iterable[Occupant], now: float) -> list[str]:
    """The models that have been idle longer than they may."""
    return [each.name for each in occupants if not each.busy and not each.pinned and now - each.used >= each.ttl]


def find_coldest(occupants: Iterable[Occupant]) -> str | None:
    """The model that may go now and was used longest ago."""
    movable = [each for each in occupants if not each.busy and not each.pinned]
    return min(movable, key=lambda each: each.used).name if movable else None
