"""Which models must go so that another fits: pure decisions on measured sizes. Nothing in use is ever chosen to go now.

Sizes are bytes, times seconds of one clock. Main memory is one of the memories that models take; others are those of
accelerators, by their ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from core.contract.placement import HOST

RESERVED_BYTES = 8_000_000_000
RESERVED_SHARE = 0.2


class Occupant(Struct, frozen=True):
    """A model that is loaded, or being loaded."""

    name: str
    size: int
    """Bytes of main memory that it was measured to take; while it loads, those that it is expected to take."""
    used: float
    """When a request for it last began or ended."""
    busy: bool = False
    pinned: bool = False
    ttl: float = math.inf
    """Seconds it may be idle."""
    elsewhere: Mapping[str, int] = {}
    """Bytes of accelerators."""

    def count_bytes(self, memory: str) -> int:
        return self.size if memory == HOST else self.elsewhere.get(memory, 0)


class EvictionPlan(Struct, frozen=True):
    """There is room, as soon as these are gone."""

    evict: tuple[str, ...] = ()
    """Idle: they can go now, coldest first."""
    drain: tuple[str, ...] = ()
    """In use: they must finish their requests first."""


class NoRoom(Struct, frozen=True):
    """It would not fit if all that may go were gone: so many bytes are lacking."""

    lacking: int
    memory: str = HOST
    limit: int = 0
    """Of that memory."""


class Claim(Struct, frozen=True):
    """What a model wants of one memory, and what all models together may take of it."""

    need: int
    limit: int


def choose_memory_limit(memory: int) -> int:
    """Bytes that all models together may take: the system's memory less 8 GB or a fifth, whichever is less."""
    return memory - min(RESERVED_BYTES, int(memory * RESERVED_SHARE))


def make_room(
    occupants: Sequence[Occupant], need: int, limit: int, elsewhere: Mapping[str, Claim] = {}
) -> EvictionPlan | NoRoom:
    """What has to go for `need` bytes more of main memory, and for what is claimed `elsewhere`: idle ones before busy
    ones, coldest first, none that is not needed, and none that has nothing of the memory that is short.

    Pinned models stay.
    """
    claims = {HOST: Claim(need, limit), **{memory: claim for memory, claim in elsewhere.items() if claim.need}}
    excess = {
        memory: sum(each.count_bytes(memory) for each in occupants) + claim.need - claim.limit
        for memory, claim in claims.items()
    }
    if all(each <= 0 for each in excess.values()):
        return EvictionPlan()
    movable = sorted((each for each in occupants if not each.pinned), key=lambda each: (each.busy, each.used))
    chosen: list[Occupant] = []
    for each in movable:
        if any(left > 0 and each.count_bytes(memory) for memory, left in excess.items()):
            chosen.append(each)
            excess = {memory: left - each.count_bytes(memory) for memory, left in excess.items()}
    for memory, left in excess.items():
        if left > 0:
            return NoRoom(left, memory, claims[memory].limit)
    for each in reversed(chosen[:-1]):
        # A small model was chosen first, and a large one after it may have made that needless.
        if all(left + each.count_bytes(memory) <= 0 for memory, left in excess.items()):
            chosen.remove(each)
            excess = {memory: left + each.count_bytes(memory) for memory, left in excess.items()}
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
