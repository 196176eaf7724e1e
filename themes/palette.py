"""What a palette is: plain colours, no toolkit. Front ends translate it to whatever they draw with."""

from __future__ import annotations

from msgspec import Struct


class Palette(Struct, frozen=True, kw_only=True):
    """Colours as `#rrggbb`. `foreground` and `quiet` read on `background`, `surface` and `panel` alike."""

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
