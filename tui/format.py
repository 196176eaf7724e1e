"""Numbers for people: aligned, short, with their unit."""

from __future__ import annotations

import re

from core.foreign_text import make_printable

LONG_CHARACTERS = 40
"""Characters of a model's name in a sentence, at most."""
_REPOSITORY = re.compile(r"(?<![\w./:~-])[\w.-]+/([\w.-]+(?::[\w.-]+)?)(?![\w/])")
"""`owner/name`, with a quant or without; no part of a path or an address."""


def format_count(number: int) -> str:
    """12345 -> '12,345'."""
    return f"{number:,}"


def shorten_count(number: int) -> str:
    """A count in at most five characters: 1234 -> '1.2k', 8000000 -> '8M'."""
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            value = number / (1000 if unit == "k" else size)
            return f"{value:.0f}{unit}" if value >= 10 else f"{value:.1f}".removesuffix(".0") + unit
    return str(number)


def format_rate(value: float) -> str:
    """Tokens a second without the unit: three leading digits, no more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}" if value > 0 else "0"


def format_seconds(value: float) -> str:
    """0.0123 -> '12 ms', 4.2 -> '4.2 s', 75 -> '1:15', 3700 -> '1:01:40'."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_percent(part: float, whole: float) -> str:
    """'37%'; a dash when there is no whole."""
    return f"{100 * part / whole:.0f}%" if whole > 0 else "-"


def format_plural(number: int, noun: str) -> str:
    """'1 round', '3 rounds'."""
    return f"{format_count(number)} {noun}" if number == 1 else f"{format_count(number)} {noun}s"


def clip_text(text: str, width: int, mark: str = "…") -> str:
    """A name in at most `width` characters, the last one `mark` where something was cut."""
    text = make_printable(text)
    return text if len(text) <= width else text[: max(0, width - len(mark))] + mark


def shorten_names(sentence: str, mark: str = "…") -> str:
    """Long names of repositories lose their owner, and then their middle: both ends tell models apart."""

    def shortened(found: re.Match[str]) -> str:
        name = found[0] if len(found[0]) <= LONG_CHARACTERS else f"{mark}/{found[1]}"
        half = (LONG_CHARACTERS - len(mark)) // 2
        return name if len(name) <= LONG_CHARACTERS else f"{name[:half]}{mark}{name[-half:]}"

    return _REPOSITORY.sub(shortened, make_printable(sentence, lines=True))
