"""Every key, from the registry."""

from __future__ import annotations

import re

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from tui.actions.registry import NOTES, Action, Scope, of
from tui.widgets.plain import Plain

_SHORT = {"question_mark": "?", "escape": "esc", "delete": "del", "slash": "/", "minus": "-", "plus": "+"}
_SHORT |= {"equals_sign": "=", "left_square_bracket": "[", "right_square_bracket": "]"}
_FUNCTION = re.compile(r"^f\d+$")


def keys(names: tuple[str, ...]) -> str:
    """An action's keys as people write them."""
    return " ".join(
        _SHORT.get(name, _FUNCTION.sub(lambda match: match[0].upper(), name.replace("ctrl+", "^"))) for name in names
    )


class HelpScreen(ModalScreen[None]):
    """Lists the scope it was opened from first, then what holds everywhere."""

    BINDINGS = [("escape,q,question_mark,f5", "dismiss", "Close")]

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_title = "help"
            dialog.border_subtitle = "escape to close, arrows to scroll"
            others = [scope for scope in Scope if scope not in (self._scope, Scope.APP)]
            for scope in (self._scope, Scope.APP, *others):
                yield Plain(scope.value, classes="heading")
                for action in of(scope):
                    if action.keys:
                        yield _line(action)
            yield Plain("good to know", classes="heading")
            yield Plain("\n".join(NOTES))


def _line(action: Action) -> Horizontal:
    """Keys on the left, what they do beside them, wrapped in its own column."""
    text = Content.assemble(action.name, (f"  {action.help}", "$quiet"))
    return Horizontal(Plain(keys(action.keys), classes="keys"), Plain(text), classes="action")
