"""The characters that gauges, plots and marks are drawn with: one set for Unicode terminals, one of plain ASCII."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from textual.widget import Widget


class Glyphs(Struct, frozen=True):
    full: str
    """A filled cell of a bar."""
    empty: str
    levels: str
    """Columns from lowest to full height, for sparklines."""
    braille: bool
    """Whether plots may use Braille dots, eight to a cell."""
    running: str
    idle: str
    yes: str
    no: str
    dot: str
    """Stands between the parts of a line."""
    cut: str
    """Stands for what was left out."""
    axis: str
    corner: str
    floor: str
    folded: str
    """Stands before what can be unfolded."""
    unfolded: str


UNICODE = Glyphs(
    full="━",
    empty="─",
    levels="▁▂▃▄▅▆▇█",
    braille=True,
    running="●",
    idle="○",
    yes="✓",
    no="✗",
    dot="·",
    cut="…",
    axis="┤",
    corner="└",
    floor="─",
    folded="▸",
    unfolded="▾",
)
ASCII = Glyphs(
    full="#",
    empty="-",
    levels=".:-=+*%#",
    braille=False,
    running="*",
    idle="o",
    yes="+",
    no="x",
    dot="|",
    cut="~",
    axis="|",
    corner="+",
    floor="-",
    folded=">",
    unfolded="v",
)


def choose_glyphs(environment: Mapping[str, str], encoding: str | None) -> Glyphs:
    """ASCII where `TUI_ASCII` is set to anything but 0, or where the terminal's encoding is not a Unicode one."""
    if environment.get("TUI_ASCII", "0") not in ("", "0"):
        return ASCII
    return UNICODE if encoding is None or "utf" in encoding.lower() else ASCII


def find_glyphs(widget: Widget) -> Glyphs:
    """The set its app draws with; Unicode in an app that does not choose."""
    chosen = getattr(widget.app, "glyphs", UNICODE)
    return chosen if isinstance(chosen, Glyphs) else UNICODE
