"""A bar with its name and its value in words, so that nothing is told by colour or length alone."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui import glyphs

WARN, FULL = 0.75, 0.92
"""Shares from which a gauge warns and counts as full."""
LABEL_CELLS = 8
LEAST_BAR_CELLS = 4


def choose_colour(share: float) -> str:
    """The CSS variable for a share of what there is."""
    return "$gauge-full" if share >= FULL else "$gauge-warn" if share >= WARN else "$gauge-ok"


def draw_bar(share: float, width: int, marks: glyphs.Glyphs, style: str) -> Content:
    """`width` cells, filled from the left by `share`; any share above zero fills one cell at least."""
    share = min(1.0, max(0.0, share))
    filled = max(1, round(share * width)) if share > 0 else 0
    return Content.assemble((marks.full * filled, style), (marks.empty * (width - filled), "$edge"))


class Gauge(Widget):
    """One line: name, bar, value."""

    DEFAULT_CSS = "Gauge { height: 1; width: 1fr; }"
    ALLOW_SELECT = False

    share: reactive[float] = reactive(0.0)
    text: reactive[str] = reactive("-")

    def __init__(self, label: str, *, value_width: int = 16, steady: bool = False, dom_id: str | None = None) -> None:
        """`steady` keeps one colour: a high hit rate is no warning."""
        super().__init__(id=dom_id)
        self.label = label
        self._value_width = value_width
        self._steady = steady

    def show(self, share: float, text: str) -> None:
        """Draw again only where something visible changed."""
        self.share = round(share, 3)
        self.text = text

    def render(self) -> Content:
        style = "$cached" if self._steady else choose_colour(self.share)
        # Where there is little room the value is what must be read.
        room = self.size.width - LABEL_CELLS - 2
        value = max(len(self.text), min(self._value_width, room - LEAST_BAR_CELLS))
        width = max(1, room - value)
        return Content.assemble(
            (f"{self.label:<{LABEL_CELLS}} ", "$quiet"),
            draw_bar(self.share, width, glyphs.find_glyphs(self), style),
            f" {self.text:>{value}}",
        )
