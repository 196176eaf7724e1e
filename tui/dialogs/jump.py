"""Letters at all that can take the focus: typing one goes there, so that no tab key need be pressed many times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from textual.app import ComposeResult
from textual.events import Key, Resize
from textual.geometry import Offset, Region, Size
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from tui.widgets.plain import Plain

LETTERS: Final = "asdfghjklqwertyuiopzxcvbnm"
"""In the order in which they are given away: those under the fingers first."""


def list_places(screen: Screen[object]) -> list[tuple[str, Widget]]:
    """What can take the focus and is in sight, with its letter, from top to bottom."""
    inside = screen.region
    seen = [each for each in screen.focus_chain if _find_visible(each).overlaps(inside) and _find_visible(each).area]
    return list(zip(LETTERS, seen, strict=False))


def _find_visible(widget: Widget) -> Region:
    """The part of it that is not scrolled away; in cells of the terminal."""
    region = widget.region
    for parent in widget.ancestors:
        if isinstance(parent, Widget):
            region = region.intersection(parent.region)
    return region


def place_labels(regions: Iterable[Region]) -> list[Offset]:
    """Where each label stands: at the left edge of what it is for, in its border's line, and never upon another."""
    taken: set[Offset] = set()
    found: list[Offset] = []
    for region in regions:
        at = region.offset
        while any(Offset(at.x + shift, at.y) in taken for shift in range(-2, 3)):
            at = Offset(at.x + 1, at.y)
        taken.add(at)
        found.append(at)
    return found


@final
class JumpScreen(ModalScreen[None]):
    """Above the screen or dialog that it is for. Any other key than a letter leaves it, and does nothing else."""

    def __init__(self, below: Screen[object]) -> None:
        super().__init__()
        self._places = dict(list_places(below))
        self._size_drawn: Size | None = None

    def compose(self) -> ComposeResult:
        offsets = place_labels(_find_visible(widget) for widget in self._places.values())
        for letter, offset in zip(self._places, offsets, strict=True):
            label = Plain(f" {letter} ", classes="jump-label")
            label.styles.offset = offset
            yield label
        yield Plain("a letter goes there, escape leaves", classes="jump-hint")

    def on_key(self, event: Key) -> None:
        event.stop()
        event.prevent_default()
        target = self._places.get((event.character or "").lower())
        self.dismiss()
        if target is not None:
            # The screen below has to be the one in sight first.
            self.app.call_later(target.focus)

    def on_resize(self, event: Resize) -> None:
        """In a terminal of another size the places are elsewhere."""
        before, self._size_drawn = self._size_drawn, event.size
        if before not in (None, event.size):
            self.dismiss()
