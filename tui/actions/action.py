"""What an action of the user is, and the key bindings that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from msgspec import Struct
from textual.binding import Binding


class Scope(Enum):
    """Where an action is at home; the value is the title its keys stand under in the help screen."""

    APP = "everywhere"
    MODELS = "models"
    BENCH = "bench"
    SERVE = "serve"
    CHAT = "chat"


class Action(Struct, frozen=True):
    id: str
    """Names the action in a keymap."""
    scope: Scope
    name: str
    """What the command palette calls it."""
    run: str
    """The Textual action, found on the scope's screen or the app."""
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


def bindings_of(action: Action) -> Iterator[Binding]:
    """Where it is at home; the footer shows the first key only."""
    for place, key in enumerate(action.keys):
        yield Binding(
            key,
            action.run,
            action.label or action.name,
            show=bool(action.label) and place == 0,
            key_display=action.display if place == 0 else None,
            priority=action.priority,
            id=action.id if place == 0 else f"{action.id}.{place}",
            tooltip=action.help,
        )


def bindings_there(action: Action) -> Iterator[Binding]:
    """Among the downloads."""
    for place, key in enumerate((*action.keys, *action.there)):
        yield Binding(
            key,
            f"screen.{action.run}",
            action.downloads,
            show=place == 0,
            id=action.id if place == 0 else None,
            tooltip=action.help,
        )
