"""What an action of the user is, and the key bindings that it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct
from textual.binding import Binding, BindingType


class Action(Struct, frozen=True):
    id: str
    """Names the action in a keymap."""
    name: str
    """What the command palette calls it."""
    run: str
    """The Textual action, found on the screen or the app that lists it."""
    keys: tuple[str, ...]
    """The first is the one shown."""
    help: str
    label: str = ""
    """What the footer calls it; empty keeps it out of the footer."""
    display: str | None = None
    """How the footer writes its key, where Textual's spelling is too long."""
    priority: bool = False
    """Its key works even where the focused widget has a use of its own for it."""
    palette: bool = True
    selects: bool = False
    """It is about the list of models, or the one selected there: not to be had while the cursor is elsewhere."""
    downloads: str = ""
    """What the footer calls it while the cursor is among the downloads."""
    there: tuple[str, ...] = ()
    """Keys that it has among the downloads besides."""

    @property
    def method(self) -> str:
        """The Textual action without its parameters."""
        return self.run.partition("(")[0]


_SHORT = {"question_mark": "?", "escape": "esc", "delete": "del", "slash": "/", "minus": "-", "plus": "+"}
_SHORT |= {"equals_sign": "=", "left_square_bracket": "[", "right_square_bracket": "]"}
_FUNCTION = re.compile(r"^f\d+$")


def format_keys(names: tuple[str, ...]) -> str:
    """An action's keys as people write them."""
    return " ".join(
        _SHORT.get(name, _FUNCTION.sub(lambda match: match[0].upper(), name.replace("ctrl+", "^"))) for name in names
    )


def build_bindings(actions: Iterable[Action]) -> list[BindingType]:
    """Their key bindings, where they are at home."""
    return [binding for action in actions for binding in _bindings(action)]


def build_download_bindings(actions: Iterable[Action]) -> list[BindingType]:
    """The keys of the list of downloads, which the footer shows while the cursor is in it."""
    return [binding for action in actions if action.downloads for binding in _download_bindings(action)]


def _bindings(action: Action) -> Iterator[Binding]:
    """The footer shows the first key only."""
    for index, key in enumerate(action.keys):
        yield Binding(
            key,
            action.run,
            action.label or action.name,
            show=bool(action.label) and index == 0,
            key_display=action.display if index == 0 else None,
            priority=action.priority,
            id=action.id if index == 0 else f"{action.id}.{index}",
            tooltip=action.help,
        )


def _download_bindings(action: Action) -> Iterator[Binding]:
    for index, key in enumerate((*action.keys, *action.there)):
        yield Binding(
            key,
            f"screen.{action.run}",
            action.downloads,
            show=index == 0,
            id=action.id if index == 0 else None,
            tooltip=action.help,
        )
