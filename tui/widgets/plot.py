"""Rates over time: one line (`Trend`) or with height and axes (`Plot`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from textual.content import Content
from textual.widget import Widget

from tui import format as fmt
from tui import glyphs


def fit_columns(values: Sequence[float], width: int) -> list[float]:
    """`values` as exactly `width` columns: the mean of several values each, or several columns a value."""
    if len(values) <= width:
        return [values[column * len(values) // width] for column in range(width)]
    edges = [len(values) * column // width for column in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def draw_spark(values: Sequence[float], levels: str) -> str:
    """One character a value, scaled so that the largest is full height; zero is blank."""
    top = max(values, default=0.0)
    steps = [round(value / top * len(levels)) if top > 0 else 0 for value in values]
    return "".join(levels[step - 1] if step > 0 else " " for step in steps)


_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Braille bits of a cell: left and right column, each from the bottom up."""


def draw_line(values: Sequence[float], top: float, height: int, *, braille: bool) -> list[str]:
    """A line through `values` from zero to `top`, as `height` rows of text, the highest first.

    Braille takes two values a character and four steps a row; without it, a star for each value.
    """
    across, up = (2, 4) if braille else (1, 1)
    width = -(-len(values) // across)
    cells = [[0] * width for _ in range(height)]
    before: int | None = None
    for x, value in enumerate(values):
        y = min(height * up - 1, max(0, round(value / top * (height * up - 1)))) if top > 0 else 0
        low, high = (y, y) if before is None or not braille else (min(y, before), max(y, before))
        for dot in range(low, high + 1):
            cells[height - 1 - dot // up][x // across] |= _DOTS[x % 2][dot % 4] if braille else 1
        before = y
    if braille:
        return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]
    return ["".join("*" if bits else " " for bits in row) for row in cells]


HEADROOM_FACTOR = 1.15
"""Room above the largest value, so that a steady line does not stick to the top."""
TALL_ROWS = 5
"""Of a chart, from which its middle is labelled too."""


def label_rows(top: float, height: int) -> list[str]:
    """What stands beside the rows of a chart from zero to `top`, the highest first; nothing where all is zero, which
    the axis below tells."""
    labels = [""] * height
    if top > 0:
        for row in {0, height // 2} if height >= TALL_ROWS else {0}:
            labels[row] = fmt.format_rate(top * (height - row) / height)
    return labels


class Trend(Widget):
    """A rate's name, its value now and its recent past, on one line."""

    DEFAULT_CSS = "Trend { height: 1; width: 1fr; }"
    ALLOW_SELECT = False

    def __init__(self, label: str, style: str, *, keep: int = 240, dom_id: str | None = None) -> None:
        super().__init__(id=dom_id)
        self.label = label
        self._style = style
        self.values: deque[float] = deque(maxlen=keep)

    def push(self, value: float) -> None:
        """The value of this moment. A row of zeroes draws nothing new."""
        still = not value and not any(self.values)
        self.values.append(value)
        if not still or len(self.values) == 1:
            self.refresh()

    def render(self) -> Content:
        marks = glyphs.find_glyphs(self)
        now = self.values[-1] if self.values else 0.0
        head = f"{self.label:<8} "
        value = f" {fmt.format_rate(now):>7} tok/s"
        width = max(4, self.size.width - len(head) - len(value))
        recent = list(self.values)[-width:]
        line = draw_spark(recent, marks.levels).rjust(width)
        return Content.assemble((head, "$quiet"), (line, self._style), value)


class Plot(Widget):
    """A line chart with its scale written beside it."""

    DEFAULT_CSS = "Plot { height: 1fr; width: 1fr; min-height: 4; }"
    ALLOW_SELECT = False

    def __init__(self, style: str, empty: str, *, dom_id: str | None = None) -> None:
        """`empty` is what stands here before there is anything to draw."""
        super().__init__(id=dom_id)
        self._style = style
        self._empty = empty
        self.values: list[float] = []

    def push(self, value: float) -> None:
        self.values.append(value)
        self.refresh()

    def show(self, values: Sequence[float]) -> None:
        """These alone."""
        self.values = list(values)
        self.refresh()

    def clear(self) -> None:
        self.show(())

    def render(self) -> Content:
        if not self.values:
            return Content.styled(self._empty, "$quiet")
        marks = glyphs.find_glyphs(self)
        height = max(2, self.size.height - 1)
        top = max(self.values) * HEADROOM_FACTOR
        labels = label_rows(top, height)
        gutter = max(1, *map(len, labels))
        width = max(4, self.size.width - gutter - 2)
        values = fit_columns(self.values, width * 2 if marks.braille else width)
        drawn = draw_line(values, top, height, braille=marks.braille)
        lines = [
            Content.assemble((f"{label:>{gutter}} {marks.axis}", "$quiet"), (line, self._style))
            for label, line in zip(labels, drawn, strict=True)
        ]
        lines.append(Content.styled(f"{'0':>{gutter}} {marks.corner}{marks.floor * width}", "$edge"))
        return Content("\n").join(lines)
