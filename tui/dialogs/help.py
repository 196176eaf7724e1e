"""Every key, from the registry."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from tui.actions.action import Action, format_keys
from tui.actions.registry import EVERYWHERE, HELP_KEY, NOTES, list_actions
from tui.actions.screens import SCREENS
from tui.widgets.plain import Plain


class HelpScreen(ModalScreen[None]):
    """Lists the actions of the screen it was opened from first, then what holds everywhere."""

    BINDINGS = [(f"escape,q,question_mark,{HELP_KEY}", "dismiss", "Close")]

    def __init__(self, screen: str) -> None:
        super().__init__()
        self._opened_from = screen

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_title = "help"
            dialog.border_subtitle = "escape to close, arrows to scroll"
            here = self._opened_from
            yield from _part(here, list_actions(here))
            yield from _part("everywhere", EVERYWHERE)
            for screen in SCREENS:
                if screen != here:
                    yield from _part(screen, list_actions(screen))
            yield Plain("good to know", classes="heading")
            yield Plain("\n".join(NOTES))


def _part(title: str, actions: Iterable[Action]) -> ComposeResult:
    yield Plain(title, classes="heading")
    yield from (_line(action) for action in actions if action.keys)


def _line(action: Action) -> Horizontal:
    """Keys on the left, what they do beside them, wrapped in its own column."""
    text = Content.assemble(action.name, (f"  {action.help}", "$quiet"))
    return Horizontal(Plain(format_keys(action.keys), classes="keys"), Plain(text), classes="action")
