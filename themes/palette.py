"""What a palette is: plain colours, no toolkit. Front ends translate it to whatever they draw with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from themes.ansi import ANSI_COLOURS

READABLE_CONTRAST: Final = 4.5
"""The least contrast of text on its ground: WCAG 2, level AA, for text of ordinary size."""
GROUNDS: Final = ("background", "surface", "panel")
TEXTS: Final = (
    *("foreground", "quiet", "primary", "secondary", "error", "warning", "success", "queued", "prefill", "decode"),
    *("cached", "gauge_ok", "gauge_warn", "gauge_full"),
)
"""What is written in, on each of the grounds."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


class Palette(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Colours as `#rrggbb`, or all of them as names of a terminal's sixteen, such as `ansi_red`. `foreground` and
    `quiet` read on `background`, `surface` and `panel` alike."""

    name: str
    dark: bool
    background: str
    surface: str
    """Fields and tables."""
    panel: str
    """Bars: the title bar and the footer."""
    foreground: str
    quiet: str
    """Labels, hints, what may be overlooked."""
    edge: str
    """Borders at rest."""
    primary: str
    """The one accent: focus, the active tab, keys."""
    secondary: str
    success: str
    warning: str
    error: str
    gauge_ok: str
    gauge_warn: str
    gauge_full: str
    queued: str
    prefill: str
    decode: str
    cached: str
    user: str
    """The bar beside the user's own messages."""


def find_faults(palette: Palette) -> list[str]:
    """Why a palette cannot be used: wrong colours, and text that cannot be read. Each reason begins with the key."""
    if not NAME.fullmatch(palette.name):
        return [f"name: {palette.name!r} is no name; write letters, digits, dots, dashes and underscores"]
    colours = {key: getattr(palette, key) for key in Palette.__struct_fields__ if key not in ("name", "dark")}
    wrong = [
        f"{key}: {colour!r} is no colour; write it as #rrggbb"
        for key, colour in colours.items()
        if not isinstance(colour, str) or not (COLOUR.fullmatch(colour) or colour in ANSI_COLOURS)
    ]
    named = [key for key, colour in colours.items() if colour in ANSI_COLOURS]
    if not wrong and named and len(named) < len(colours):
        wrong = [f"{named[0]}: either all colours are named as a terminal's, or none"]
    return wrong or [
        f"{key}: {colours[key]} on the {ground} {colours[ground]} has a contrast of {ratio:.1f}, where text needs "
        f"{READABLE_CONTRAST} to be read; choose a {'lighter' if palette.dark else 'darker'} one"
        for key in TEXTS
        for ground in GROUNDS
        if (ratio := compute_contrast(colours[key], colours[ground])) < READABLE_CONTRAST
    ]


def compute_contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours as WCAG 2 defines it, from 1 to 21; of a terminal's colours, that of the
    terminal where it is least."""
    ones, others = ANSI_COLOURS.get(one, (one,)), ANSI_COLOURS.get(other, (other,))
    pairs = [sorted((_luminance(mine), _luminance(its))) for mine, its in zip(ones, others, strict=True)]
    return min((light + 0.05) / (dark + 0.05) for dark, light in pairs)


def choose_readable(ground: str, texts: Sequence[str]) -> str:
    """Of these colours the one that is read best on `ground`."""
    return max(texts, key=lambda text: compute_contrast(text, ground))


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
