"""`tui list`: the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.config import Settings
    from core.models.library import LibraryEntry

UNITS = ("B", "kB", "MB", "GB", "TB")


def show(settings: Settings) -> None:
    """Print the list on stdout."""
    Console().print(table_of(Workbench(settings).library()))


def table_of(entries: Iterable[LibraryEntry]) -> Table:
    table = Table()
    table.add_column("model", overflow="fold")
    table.add_column("format")
    table.add_column("size", justify="right")
    table.add_column("remarks", overflow="fold")
    for entry in entries:
        kind = entry.format.value if entry.format else ""
        table.add_row(escape(entry.name), kind, size_in_words(entry.size), escape(entry.problem or ""))
    return table


def size_in_words(size: int) -> str:
    """Bytes with a decimal unit; nothing for what has no size."""
    if size <= 0:
        return ""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 else f"{value:.1f} {UNITS[unit]}"
