"""Tables of answers: as wide as their cells, or as the screen, and each column leaning to the side it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from textual.content import Content

from tui.glyphs import ASCII
from tui.screens.chat.drawn_line import DrawnLine, Look, wrap_words

LEAST_COLUMN_CELLS: Final = 6
"""Cells of a column, at least; where there is no room for that, each row is told cell by cell."""


class TableBody(NamedTuple):
    """The first of the `rows` is the head; all have as many cells."""

    rows: list[list[Content]]
    sides: list[str]
    """`left`, `center` or `right`, column by column."""

    def draw(self, look: Look, width: int) -> list[DrawnLine]:
        if not self.rows:
            return []
        columns = max(map(len, self.rows))
        natural = [max((row[at].cell_length for row in self.rows if at < len(row)), default=1) for at in range(columns)]
        between = Content.styled(" | " if look.glyphs is ASCII else " │ ", "$edge")
        room = width - 3 * (columns - 1)
        if sum(natural) > room and room < columns * LEAST_COLUMN_CELLS:
            return self._tell(width)
        widths = split_width(natural, room)
        out = self._draw_row([cell.stylize_before("bold") for cell in self.rows[0]], widths, between)
        crossing = "-+-" if look.glyphs is ASCII else "─┼─"
        out.append(DrawnLine(Content.styled(crossing.join(look.glyphs.floor * each for each in widths), "$edge")))
        for row in self.rows[1:]:
            out += self._draw_row(row, widths, between)
        return out

    def _draw_row(self, row: Sequence[Content], widths: Sequence[int], between: Content) -> list[DrawnLine]:
        cells = [
            [line.content for line in wrap_words(row[at], room)] if at < len(row) else []
            for at, room in enumerate(widths)
        ]
        out = []
        for at in range(max(1, *map(len, cells))):
            line = [
                self._lean(cell[at] if at < len(cell) else Content(""), column, widths[column])
                for column, cell in enumerate(cells)
            ]
            out.append(DrawnLine(between.join(line)))
        return out

    def _lean(self, cell: Content, column: int, width: int) -> Content:
        room = max(0, width - cell.cell_length)
        side = self.sides[column] if column < len(self.sides) else "left"
        before = room if side == "right" else room // 2 if side == "center" else 0
        return cell.pad(before, room - before)

    def _tell(self, width: int) -> list[DrawnLine]:
        """`head: cell`, a line each; a blank line between rows."""
        head, *rows = self.rows
        out: list[DrawnLine] = []
        for row in rows or [[]]:
            for at, name in enumerate(head):
                cell = row[at] if at < len(row) else Content("")
                out += wrap_words(name.stylize_before("bold").append(Content(": ")).append(cell), width)
            out.append(DrawnLine(Content("")))
        return out[:-1]


def split_width(natural: Sequence[int], room: int) -> list[int]:
    """Cells for each column: as many as it likes, and where that is too much in all, the widest give way first."""
    widths = [max(1, each) for each in natural]
    if sum(widths) <= room:
        return widths
    left, open_columns = room, sorted(range(len(widths)), key=widths.__getitem__)
    for count, column in zip(range(len(widths), 0, -1), open_columns, strict=True):
        widths[column] = max(1, min(widths[column], left // count))
        left -= widths[column]
    return widths
