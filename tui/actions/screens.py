"""The screens by name. Each is imported when it is first gone to, so that the first frame comes at once."""

from __future__ import annotations

from typing import ClassVar, cast

from textual.screen import Screen

from core.plugins import load_object
from tui.actions.action import Action

SCREENS = {
    "models": "tui.screens.models.screen:ModelsScreen",
    "bench": "tui.screens.bench.screen:BenchScreen",
    "serve": "tui.screens.serve.screen:ServeScreen",
    "chat": "tui.screens.chat.screen:ChatScreen",
}
"""Name to `module:Class`, in the order of their keys, from 1 on."""


class ActionScreen(Screen[None]):
    """A screen of the app, which says what a user can do there."""

    NAME: ClassVar[str]
    """Its key in `SCREENS`."""
    ACTIONS: ClassVar[tuple[Action, ...]]


def load_screen_class(name: str) -> type[ActionScreen]:
    """Import the class of the screen called `name`."""
    return cast("type[ActionScreen]", load_object(SCREENS[name]))


def load_actions(name: str) -> tuple[Action, ...]:
    """What a user can do on the screen called `name`, from the file beside it: help and the palette list all screens,
    which take a fifth of a second to import."""
    package = SCREENS[name].partition(":")[0].rpartition(".")[0]
    return cast("tuple[Action, ...]", load_object(f"{package}.actions:ACTIONS"))


def make_screen(name: str) -> ActionScreen:
    """A new screen of the kind called `name`."""
    return load_screen_class(name)()
