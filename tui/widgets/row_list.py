"""A list of any length with a cursor: only the lines in sight are drawn, so that ten thousand cost what ten do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from tui import glyphs
from tui.widgets.plain import make_drawable

Row = TypeVar("Row")
Cell = str | Content


class Field(NamedTuple):
    """A column. `width` is in cells; the one with zero takes what the others leave."""

    title: str
    width: int
    right: bool = False
    rank: int = 0
    """Columns of the highest rank go first where there is no room for all; those of rank zero stay."""


class RowList(ScrollView, Generic[Row], can_focus=True):
    """Shows rows that `key` tells apart and `cells` draws. The cursor stays on its key when rows come and go."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--head", "lines--cursor"}
    DEFAULT_CSS = "RowList { overflow-x: hidden; scrollbar-size-vertical: 1; }"

    class Moved(Message):
        """Another row is under the cursor."""

        def __init__(self, lines: Widget) -> None:
            super().__init__()
            self.lines = lines

        @property
        def control(self) -> Widget:
            return self.lines

    class Chosen(Message):
        """The row under the cursor was clicked twice."""

    def __init__(
        self,
        fields: Sequence[Field],
        key: Callable[[Row], str],
        cells: Callable[[Row], Sequence[Cell]],
        *,
        head: bool = True,
        least: int = 20,
        dom_id: str | None = None,
    ) -> None:
        """Before the column without a width gets fewer than `least` cells, another one is left out."""
        super().__init__(id=dom_id)
        self._least = least
        self.fields = tuple(fields)
        self.rows: Sequence[Row] = ()
        self._key = key
        self._cells = cells
        self._head = int(head)
        self._at = 0
        self._wanted: str | None = None
        self._told: str | None = None

    @property
    def at(self) -> int:
        """The index of the row under the cursor."""
        return self._at

    @property
    def row(self) -> Row | None:
        """The one under the cursor."""
        return self.rows[self._at] if self._at < len(self.rows) else None

    @property
    def selected(self) -> str | None:
        """Its key."""
        return self._key(row) if (row := self.row) is not None else None

    @property
    def room(self) -> int:
        """Cells of the column without a width."""
        widths = self._widths(self.scrollable_content_region.width)
        return next((got for got, each in zip(widths, self.fields, strict=True) if not each.width), 0)

    def show(self, rows: Sequence[Row], *, fresh: bool = False) -> None:
        """The cursor stays on its row; where that is gone it stays in its place, or goes to the top if `fresh`."""
        before = self.selected
        self.rows = rows
        numbers = {self._key(row): number for number, row in enumerate(rows)}
        index = numbers.get(self._wanted or "")
        if index is None and not fresh:
            index = numbers.get(before or "", min(self._at, max(0, len(rows) - 1)))
        self._at = index or 0
        self.virtual_size = Size(self.size.width, len(rows) + self._head)
        self._into_sight()
        self.refresh()
        self._tell()

    def select(self, key: str) -> None:
        """Put the cursor on a row; on one that is not there, once it comes."""
        self._wanted = key
        self.show(self.rows)

    def set_fields(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.refresh()

    def action_move(self, by: int) -> None:
        self._go(self._at + by)

    def action_page(self, by: int) -> None:
        self._go(self._at + by * max(1, self.size.height - self._head - 1))

    def action_edge(self, by: int) -> None:
        self._go(0 if by < 0 else len(self.rows) - 1)

    def _go(self, index: int) -> None:
        self._at = min(max(0, index), max(0, len(self.rows) - 1))
        self._wanted = self.selected
        self._into_sight()
        self.refresh()
        self._tell()

    def _tell(self) -> None:
        if self.selected != self._told:
            self._told = self.selected
            self.post_message(self.Moved(self))

    def _into_sight(self) -> None:
        room = max(1, self.size.height - self._head)
        first = round(self.scroll_target_y)
        if not first <= self._at < first + room:
            first = self._at if self._at < first else self._at - room + 1
            self.scroll_to(y=first, animate=False)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + self._head)
        self._into_sight()

    def on_click(self, event: Click) -> None:
        index = event.y - self._head + self.scroll_offset.y
        if event.y < self._head or index >= len(self.rows):
            return
        again = index == self._at and event.chain > 1
        self._go(index)
        if again:
            self.post_message(self.Chosen())

    # Drawing.

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y < self._head:
            return self._strip([each.title for each in self.fields], width, "lines--head")
        index = y - self._head + self.scroll_offset.y
        if index >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        part = ("lines--cursor",) if index == self._at else ()
        return self._strip(self._cells(self.rows[index]), width, *part)

    def _strip(self, cells: Sequence[Cell], width: int, *part: str) -> Strip:
        """Words lose their own colours under the cursor, where they could not be read."""
        plain = "lines--cursor" in part and self.has_focus
        cut = glyphs.find_glyphs(self).cut
        content = Content(" ").join(
            [
                _fitted(cell.plain if isinstance(cell, Content) and plain else cell, room, each.right, cut)
                for cell, each, room in zip(cells, self.fields, self._widths(width), strict=True)
                if room
            ]
        )
        style = self.get_visual_style(*part)
        (strip,) = Visual.to_strips(self, content, width, 1, style, pad=True)
        return strip.adjust_cell_length(width, style.rich_style)

    def _widths(self, width: int) -> list[int]:
        """Cells of each column; zero for those that are left out."""
        kept = list(self.fields)

        def left() -> int:
            return width - sum(each.width for each in kept) - len(kept) + 1

        while left() < self._least and (most := max(each.rank for each in kept)):
            kept.remove(next(each for each in reversed(kept) if each.rank == most))
        return [0 if each not in kept else each.width or max(1, left()) for each in self.fields]


class List(RowList[Row]):
    """Lines whose ends the keys home and end go to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "edge(-1)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
    ]


def _fitted(cell: Cell, width: int, right: bool, cut: str) -> Content:
    """Cut or filled to the width."""
    content = make_drawable(cell, lines=False)
    if content.cell_length > width:
        content = content.truncate(width - 1).append(cut)
    lacking = width - content.cell_length
    return content.pad_left(lacking) if right else content.pad_right(lacking)
