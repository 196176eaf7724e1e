"""Who tries one key after another is slowed down, and nobody else."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from core.telemetry.log import get_logger

FREE_GUESSES: Final = 20
"""Wrong keys that may come from one address before it is slowed down."""
GUESSES_PER_SECOND: Final = 0.5
"""Wrong keys that are looked at from then on."""
TELLING_SECONDS: Final = 60.0
"""Between two lines of the log on one address."""
MOST_ADDRESSES: Final = 4096
MOST_KNOWN_KEYS: Final = 16_384
SUBNET_BITS: Final = 64
"""Of addresses of version 6 whoever has one has as many as there are behind these bits."""

log = get_logger(__name__)


class Suspect(NamedTuple):
    """An address from which wrong keys come."""

    keys: float
    """How many count against it, when the last one came."""
    then: float
    told: float | None
    """When the log last told of it."""


class GuessWatch:
    """By addresses: from one that has sent many wrong keys, further keys are looked at slowly, whether they are right
    or not. A key that was right from there before is let in at once, so that whoever shares an address with the
    suspect, as behind a proxy, goes on.

    What is kept is bounded: the address and the key that were seen longest ago are forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, Suspect] = OrderedDict()
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def find_delay(self, address: str, digest: bytes) -> float:
        """Seconds after which a key may be looked at; zero for now."""
        place = group_address(address)
        if (place, digest) in self._known:
            return 0.0
        excess = self._count(place) - (FREE_GUESSES - 1)
        return max(0.0, excess / GUESSES_PER_SECOND)

    def note_right(self, address: str, digest: bytes) -> None:
        known = group_address(address), digest
        self._known[known] = None
        self._known.move_to_end(known)
        if len(self._known) > MOST_KNOWN_KEYS:
            self._known.popitem(last=False)

    def note_wrong(self, address: str) -> None:
        place = group_address(address)
        now, told = self._clock(), self._wrong[place].told if place in self._wrong else None
        count = self._count(place) + 1
        if count > FREE_GUESSES - 1 and (told is None or now - told > TELLING_SECONDS):
            log.warning("wrong API keys come one after another", address=address)
            told = now
        self._wrong[place] = Suspect(count, now, told)
        self._wrong.move_to_end(place)
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def _count(self, place: str) -> float:
        if (suspect := self._wrong.get(place)) is None:
            return 0.0
        return max(0.0, suspect.keys - (self._clock() - suspect.then) * GUESSES_PER_SECOND)


@lru_cache(maxsize=MOST_ADDRESSES)
def group_address(address: str) -> str:
    """What counts as one: an address, or of version 6 its subnet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, SUBNET_BITS), strict=False).network_address)
