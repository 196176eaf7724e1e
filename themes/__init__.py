"""The palettes that come with the workbench, one a file."""

from __future__ import annotations

from themes import contrast, ember, fjord, graphite, paper, phosphor
from themes.palette import Palette

PALETTES: tuple[Palette, ...] = (
    graphite.PALETTE,
    paper.PALETTE,
    contrast.PALETTE,
    ember.PALETTE,
    fjord.PALETTE,
    phosphor.PALETTE,
)
"""The first is the default."""

__all__ = ["PALETTES", "Palette"]
