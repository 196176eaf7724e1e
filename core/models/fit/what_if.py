"""Other machines, to ask what would fit there: memories of given sizes, with nothing in them yet."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from msgspec.structs import replace

from core.devices.device import Backend, Device, DeviceKind
from core.errors import UsageError
from core.models.fit.bandwidth import CHIPS_GIGABYTES, find_bandwidth
from core.sizes import format_size

MAIN_MEMORY_NAME: Final = "main memory"


def make_devices(
    host: Device, cards: Sequence[int] = (), main: int | None = None, chip: str | None = None
) -> tuple[Device, ...]:
    """A machine with cards of so many bytes, and `main` bytes of main memory, by default as many as are free here.
    `chip`: what the cards are called by their maker. Raises UsageError for a name that is not known."""
    if chip is not None and not find_bandwidth(chip):
        near = ", ".join(get_close_matches(chip.lower(), CHIPS_GIGABYTES, cutoff=0.4)) or "rtx 4090"
        raise UsageError(f"The bandwidth of {chip[:60]!r} is not known here; these names are like it: {near}.")
    memory = host if main is None else replace(host, name=MAIN_MEMORY_NAME, total=main, free=main)
    made = [
        Device(chip or f"a card of {format_size(size)}", DeviceKind.CARD, size, size, f"CUDA{number}", Backend.CUDA)
        for number, size in enumerate(cards)
    ]
    return (memory, *made)
