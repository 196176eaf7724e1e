"""Sizes in words: the same everywhere, decimal as disks count them, and the Hub the files of models."""

from __future__ import annotations

from typing import Final

UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def format_size(count: float) -> str:
    """Bytes in three or four characters and a decimal unit: 4123456 -> '4.1 MB', 639000000 -> '639 MB'."""
    value, unit = float(count), 0
    while round(value) >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 or value >= 99.95 else f"{value:.1f} {UNITS[unit]}"
