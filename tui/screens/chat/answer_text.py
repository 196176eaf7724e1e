"""The text of an answer on the screen, line by line. What it costs to draw depends on what is in sight, not on how much
there is: no widget stands for a block, and lines that stand are drawn from what is kept."""

from __future__ import annotations

from typing import Final

from rich.segment import Segment
from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from tui import glyphs
from tui.screens.chat.answer_document import AnswerDocument
from tui.screens.chat.drawn_line import COPY, CodeSource, DrawnLine, Look
from tui.widgets.settled import SettledSize

SCREENS_LAID_OUT: Final = 3
"""How much of a text that is there already is laid out at first, in heights of the terminal."""

_BLANK: Final = DrawnLine(Content(""))


class AnswerText(SettledSize, Widget):
    """Draws an `AnswerDocument`."""

    class CodeChosen(Message):
        """A click on the word that copies a piece of code."""

        def __init__(self, source: CodeSource) -> None:
            super().__init__()
            self.source = source

    def __init__(self) -> None:
        super().__init__(classes="text")
        self.document = AnswerDocument()
        self.wrap_code = True
        self._strips: dict[int, Strip] = {}
        """Lines as they were drawn last; the tail's are not among them."""

    def take(self, text: str, *, ended: bool = False) -> None:
        """More of the text, printable; lays the screen out anew only where there are more lines or fewer."""
        kept, height = len(self.document.lines), self.document.height
        self.document.take(text, ended=ended)
        if self.document.height != height:
            self.refresh(layout=True)
        elif self.size:
            self.refresh(Region(0, kept, self.size.width, max(1, self.document.height - kept)))

    def load(self, text: str) -> None:
        """All of a text, printable."""
        self.document.load(text)
        self.refresh(layout=True)

    def reach_back(self, lines: int) -> int:
        """Lay out more of what stands above the first line; how many lines came of it."""
        if more := self.document.reach_back(lines):
            self._strips.clear()
            self.refresh(layout=True)
        return more

    def turn_code(self, wrapped: bool) -> None:
        """Long lines of code go on below, or are cut."""
        if wrapped != self.wrap_code:
            self.wrap_code = wrapped
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        look = Look(width, glyphs.find_glyphs(self), self.wrap_code)
        if self.document.lay_out(look, SCREENS_LAID_OUT * self.app.size.height):
            self._strips.clear()
            self.refresh()
        return self.document.height

    def render_lines(self, crop: Region) -> list[Strip]:
        """Without the cache of Textual, which forgets all lines when one more comes: there is no border to draw."""
        background, filters = self.background_colors[1], self.get_line_filters()
        strips = []
        for y in crop.line_range:
            strip = self.render_line(y)
            for each in filters:
                strip = strip.apply_filter(each, background)
            strips.append(strip if crop.column_span == (0, strip.cell_length) else strip.crop(*crop.column_span))
        return strips

    def render_line(self, y: int) -> Strip:
        selection = self.text_selection
        if selection is None and (known := self._strips.get(y)) is not None:
            return known
        line = self.document.get_line(y)
        strip = self._draw(line or _BLANK, y, selection)
        if selection is None and y < len(self.document.lines):
            self._strips[y] = strip
        return strip

    def _draw(self, line: DrawnLine, y: int, selection: Selection | None) -> Strip:
        content, width = line.content, self.size.width
        style = self.visual_style
        if line.ground:
            style += self._get_style(line.ground)
        if selection is not None and (span := selection.get_span(y)) is not None:
            begin, end = span
            chosen = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            content = content.stylize(chosen, begin, None if end < 0 else end)
        segments, x = [], 0
        for text, own in content.render(style, end="", parse_style=self._get_style):
            segments.append(Segment(text, (style + own).rich_style_with_offset(x, y)))
            x += len(text)
        strip = Strip(segments, line.content.cell_length).extend_cell_length(width, style.rich_style)
        return strip if strip.cell_length == width else strip.crop(0, width)

    def notify_style_update(self) -> None:
        """Another theme, for instance."""
        self._strips.clear()
        super().notify_style_update()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        start, end = selection
        return self.document.extract(
            None if start is None else (start.y, start.x), None if end is None else (end.y, end.x)
        ), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        line = self.document.get_line(at.y) if at is not None else None
        if at is not None and line is not None and line.copies is not None and at.x >= self.size.width - len(COPY) - 2:
            event.stop()
            self.post_message(self.CodeChosen(line.copies))
