"""The palettes that come with the workbench, one a file; `tui/palettes.py` finds them, plugins' and the user's own."""

from __future__ import annotations

from themes.palette import Palette

PALETTES = {
    "graphite": "themes.graphite:PALETTE",
    "paper": "themes.paper:PALETTE",
    "contrast": "themes.contrast:PALETTE",
    "ember": "themes.ember:PALETTE",
    "fjord": "themes.fjord:PALETTE",
    "phosphor": "themes.phosphor:PALETTE",
    "sixteen": "themes.sixteen:PALETTE",
}
"""Name to `module:attribute`. The first is the default."""

__all__ = ["PALETTES", "Palette"]
