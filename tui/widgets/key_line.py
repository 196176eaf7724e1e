"""The footer: the keys that there is room for, each whole, help, quit and the palette always among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

KEPT: Final = ("help", "quit", "command_palette")
"""Actions that whoever is lost looks for."""
TOLD_ABOVE: Final = "go("
"""Begins the actions whose keys the title bar shows as well."""


class KeyLine(Footer):
    """Leaves keys out where not all have room: the last of the screen's own where that is enough, else those that go to
    other screens, and more of its own."""

    def __init__(self) -> None:
        super().__init__(compact=True)
        self._composed_for = 0

    def compose(self) -> ComposeResult:
        self._composed_for = self.app.size.width
        keys = [*super().compose()]
        yield from choose_keys([key for key in keys if isinstance(key, FooterKey)], self._composed_for)

    def on_resize(self, event: Resize) -> None:
        if self._composed_for != self.app.size.width and self.is_attached:
            self.call_after_refresh(self.recompose)


def choose_keys(keys: Sequence[FooterKey], cells: int) -> list[Widget]:
    """The keys in their order, without those that find no room in a line of so many cells."""
    chosen = [*keys]
    own = [key for key in keys if _names(key) not in KEPT and not _names(key).startswith(TOLD_ABOVE)]
    ways = [key for key in keys if _names(key).startswith(TOLD_ABOVE)]
    lacking = _measure(chosen) - cells
    spare = [*own[:-1], *ways, *own[-1:]] if own and lacking <= _measure(own[-1:]) else [*own, *ways]
    while spare and _measure(chosen) > cells:
        chosen.remove(spare.pop())
    return [*chosen]


def _names(key: FooterKey) -> str:
    """Its action, without whose it is."""
    return key.action.removeprefix("app.").removeprefix("screen.")


def _measure(keys: Sequence[FooterKey]) -> int:
    """Cells of the line. The palette has a line before it and a blank behind it."""
    words = sum(cell_len(f"{key.key_display} {key.description}") + 1 for key in keys)
    return words + sum(key.has_class("-command-palette") for key in keys)
