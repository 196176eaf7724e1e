"""A table whose rows are told apart by key: showing new content changes only the cells that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from textual.content import Content
from textual.widgets import DataTable
from textual.widgets.data_table import CellDoesNotExist, RowDoesNotExist

from tui.widgets.plain import make_drawable

Cell = str | Content
WIDE_COLUMNS = 110
"""Columns of terminal from which every column is shown."""


class Column(NamedTuple):
    title: str
    width: int
    right: bool = False
    """Numbers stand on the right, so that their digits line up."""
    wide_only: bool = False


class RowTable(DataTable[Cell]):
    """Shows a mapping of key to cells; cells are given for all columns, also for those a narrow terminal hides."""

    def __init__(self, columns: Sequence[Column], *, dom_id: str | None = None) -> None:
        super().__init__(id=dom_id, cursor_type="row", zebra_stripes=False, show_row_labels=False, cell_padding=1)
        self._spec = tuple(columns)
        self._content: dict[str, tuple[Cell, ...]] = {}
        self._wide: bool | None = None

    def on_mount(self) -> None:
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    @property
    def selected(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count:
            return None
        try:
            return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        except CellDoesNotExist:
            return None

    def show(self, content: Mapping[str, Sequence[Cell]]) -> None:
        """Key to cells, in the order wanted."""
        wanted = {key: tuple(cells) for key, cells in content.items()}
        if wanted == self._content:
            return
        before, self._content = self._content, wanted
        if [key for key in before if key in wanted] + [key for key in wanted if key not in before] != list(wanted):
            self._refill()
            return
        for key in before:
            if key not in wanted:
                self.remove_row(key)
        for key, cells in wanted.items():
            if key not in before:
                self.add_row(*self._visible(cells), key=key)
            elif cells != before[key]:
                self._change(key, before[key], cells)

    def _change(self, key: str, old: tuple[Cell, ...], new: tuple[Cell, ...]) -> None:
        for column, was, now in zip(self._spec, old, new, strict=True):
            if was != now and self._shows(column):
                self.update_cell(key, column.title, _placed(now, column))

    def _shows(self, column: Column) -> bool:
        return bool(self._wide) or not column.wide_only

    def _visible(self, cells: Sequence[Cell]) -> list[Content]:
        return [_placed(cell, column) for column, cell in zip(self._spec, cells, strict=True) if self._shows(column)]

    def _fit(self) -> None:
        """Choose the columns for the terminal's width."""
        wide = self.app.size.width >= WIDE_COLUMNS
        if wide == self._wide:
            return
        self._wide = wide
        self._refill()

    def _refill(self) -> None:
        key, row = self.selected, self.cursor_row
        self.clear(columns=True)
        for column in self._spec:
            if self._shows(column):
                self.add_column(_padded(column.title, column), width=column.width, key=column.title)
        for row_key, cells in self._content.items():
            self.add_row(*self._visible(cells), key=row_key)
        if not self.row_count:
            return
        try:
            row = self.get_row_index(key) if key is not None else row
        except RowDoesNotExist:
            row = min(row, self.row_count - 1)
        self.move_cursor(row=row)


def _placed(cell: Cell, column: Column) -> Content:
    """A string would be read as markup."""
    return make_drawable(_padded(cell, column) if isinstance(cell, str) else cell, lines=False)


def _padded(text: str, column: Column) -> str:
    return f"{text:>{column.width}}" if column.right else text
