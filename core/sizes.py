"""Sizes in words: written the same everywhere, decimal as disks count them and the Hub the files of models; read as
people write them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
MAIN_MEMORY_NAMES: Final = frozenset({"host", "cpu", "ram"})
_SIZE = re.compile(
    r"(?P<number>\d{1,30}(?:\.\d{1,30})?)\s*(?:(?P<unit>[kmgt]?)b|(?P<binary>[kmgt])(?:ib)?|(?P<share>%))?",
    re.IGNORECASE | re.ASCII,
)


def format_size(count: float) -> str:
    """Bytes in three or four characters and a decimal unit: 4123456 -> '4.1 MB', 639000000 -> '639 MB'."""
    value, unit = float(count), 0
    while round(value) >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 99.95 else f"{value:.1f} {_UNITS[unit]}"


def split_sizes(text: str) -> dict[str, str]:
    """The sizes of `12GB`, or of `CUDA0=10GB,host=60%`, by names in small letters; that of main memory has the empty
    name. Raises ValueError, with a sentence, for what names one twice, and for what is no size."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, sign, size = part.rpartition("=")
        parse_size(size, 1 << 60)
        key = name.strip().lower()
        if sign and not key:
            raise ValueError(f"{part.strip()[:40]!r} names no memory; write it as CUDA0=10GB or host=24GB.")
        key = "" if key in MAIN_MEMORY_NAMES else key
        if key in found:
            raise ValueError(f"{text[:60]!r} gives {key or 'main memory'} two sizes; give one.")
        found[key] = size.strip()
    return found


def parse_size(text: str, whole: int) -> int:
    """Bytes that `12GB`, `8GiB`, `512M`, `4096` or `60%` (of `whole`) stand for; `G` alone is 2^30, `GB` 10^9.

    What is less than a byte is cut off. Raises ValueError, with a sentence, for anything else, for less than one byte
    and for more than 100%.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no size; write it as 12GB, 8GiB, 512M or 60%.")
    number = Fraction(found["number"])
    if found["share"]:
        if number > 100:
            raise ValueError(f"{text[:40]!r} is more than there is; give 100% at most.")
        number = number / 100 * whole
    elif found["binary"]:
        number *= 1024 ** POWERS[found["binary"].lower()]
    else:
        number *= 1000 ** POWERS[(found["unit"] or "").lower()]
    if number < 1:
        raise ValueError(f"{text[:40]!r} is less than a byte; give a larger size.")
    return int(number)
