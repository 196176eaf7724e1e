"""The dialog in which the list of models is narrowed down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from core.models.catalog import Task
from core.models.formats.registry import load_formats
from tui import format as fmt
from tui.screens.models.rows import View
from tui.widgets.plain import Plain
from tui.widgets.row_list import Cell, Field, RowList

Value = TypeVar("Value")

LICENCES = ("apache-2.0", "mit", "llama3.1", "llama3.2", "llama3.3", "gemma", "cc-by-4.0", "cc-by-nc-4.0", "other")
PARAMETERS = tuple(round(each * 1e9) for each in (0.5, 1, 2, 4, 8, 14, 32, 72))
ROWS = ("task", "format", "licence", "parameters", "open only")


class Narrow(ModalScreen[None]):
    """Up and down choose what to set, left and right set it; `apply` is told of every change at once."""

    BINDINGS = [
        ("escape,enter,f", "dismiss", "Close"),
        ("left", "turn(-1)", "Before"),
        ("right,space", "turn(1)", "Next"),
        ("backspace,delete", "clear", "Any"),
    ]

    def __init__(self, view: View, apply: Callable[[View], None]) -> None:
        super().__init__()
        self._view = view
        self._apply = apply

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "filters"
            dialog.border_subtitle = "left and right change, backspace clears all, escape closes"
            yield RowList((Field("", 12), Field("", 0)), str, self._cells, head=False, dom_id="narrow")
            yield Plain("Models that do not tell what is asked for are left out.", classes="hint")

    def on_mount(self) -> None:
        lines = self.query_one("#narrow", RowList)
        lines.show(ROWS)
        lines.styles.height = len(ROWS)
        lines.focus()

    def action_turn(self, by: int) -> None:
        view = self._view
        match self.query_one("#narrow", RowList).selected:
            case "task":
                view = replace(view, task=_next(tuple(Task), view.task, by))
            case "format":
                view = replace(view, format=_next(load_formats().names, view.format, by))
            case "licence":
                view = replace(view, licence=_next(LICENCES, view.licence, by))
            case "parameters":
                view = replace(view, most_parameters=_next(PARAMETERS, view.most_parameters, by))
            case _:
                view = replace(view, open_only=not view.open_only)
        self._set(view)

    def action_clear(self) -> None:
        self._set(replace(self._view, task=None, format=None, licence=None, most_parameters=None, open_only=False))

    def _set(self, view: View) -> None:
        self._view = view
        self.query_one("#narrow", RowList).refresh()
        self._apply(view)

    def _cells(self, name: str) -> tuple[Cell, Cell]:
        view = self._view
        value = {
            "task": view.task.value if view.task else None,
            "format": view.format,
            "licence": view.licence,
            "parameters": f"at most {fmt.shorten_count(view.most_parameters)}" if view.most_parameters else None,
            "open only": "yes" if view.open_only else "no",
        }[name]
        return Content.styled(name, "$quiet"), f"< {value or 'any'} >"


def _next(values: tuple[Value, ...], now: Value | None, by: int) -> Value | None:
    """The neighbour in a ring of which `None`, for any, is the first."""
    ring = (None, *values)
    at = ring.index(now) if now in ring else 0
    return ring[(at + by) % len(ring)]
