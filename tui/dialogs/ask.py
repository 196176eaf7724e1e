"""A small dialog that asks for one line of text, a path mostly, and stays open until the answer will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.widgets.plain import Plain, make_drawable


class Ask(ModalScreen[None]):
    """`accept` takes the answer and returns None when it was good, else a sentence that is shown."""

    BINDINGS = [("escape", "dismiss", "Cancel")]
    HINT: ClassVar[str] = "enter to go on, escape to leave"

    def __init__(self, title: str, value: str, accept: Callable[[str], str | None], placeholder: str = "") -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._accept = accept
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = make_drawable(self._title, lines=False)
            dialog.border_subtitle = make_drawable(self.HINT, lines=False)
            yield self.make_field(self._value, self._placeholder)
            yield Plain(classes="problem")
            yield from self.compose_below()

    def compose_below(self) -> ComposeResult:
        """What stands below the field, in the dialog."""
        yield from ()

    def make_field(self, value: str, placeholder: str) -> Input:
        """What is written into."""
        return Input(value, placeholder=placeholder, select_on_focus=False)

    @on(Input.Submitted)
    def submit(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            return
        problem = self._accept(event.value.strip())
        if problem is None:
            self.dismiss()
        else:
            self.query_one(".problem", Static).update(problem)
