"""The action registry is what the app really does."""

from __future__ import annotations

from collections import Counter

import pytest
from textual.app import App
from textual.dom import DOMNode

from tests.tui.conftest import quiet
from tui.actions.registry import ACTIONS, SCREENS, Action, Scope, of
from tui.dialogs.help import keys
from tui.screens.bench.screen import BenchScreen
from tui.screens.chat.screen import ChatScreen
from tui.screens.models.screen import ModelsScreen
from tui.screens.serve.screen import ServeScreen

HOMES: dict[Scope, type[DOMNode]] = {
    Scope.MODELS: ModelsScreen,
    Scope.BENCH: BenchScreen,
    Scope.SERVE: ServeScreen,
    Scope.CHAT: ChatScreen,
}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_exists_where_it_is_at_home(action: Action) -> None:
    home = HOMES.get(action.scope) or type(quiet())
    assert hasattr(home, f"action_{action.run.partition('(')[0]}")


def test_ids_are_unique() -> None:
    assert max(Counter(action.id for action in ACTIONS).values()) == 1


@pytest.mark.parametrize("scope", Scope)
def test_no_key_means_two_things_in_one_scope(scope: Scope) -> None:
    counted = Counter(key for action in of(scope, Scope.APP) for key in action.keys)
    # Escape stops an answer while there is one, and leaves the message otherwise.
    assert {key for key, times in counted.items() if times > 1} <= {"escape"}


def test_every_action_says_what_it_does() -> None:
    for action in ACTIONS:
        assert action.help.endswith(".")
        assert action.name[0].isupper()


def test_keys_are_written_as_people_write_them() -> None:
    assert keys(("ctrl+n", "question_mark", "f5", "escape")) == "^n ? F5 esc"


async def test_the_palette_offers_the_registry_and_the_themes() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.pause()
        offered = {command.title for command in app.get_system_commands(app.screen)}
        wanted = {action.name for action in of(Scope.CHAT, Scope.APP) if action.palette}
        assert wanted <= offered
        assert {"Theme: graphite", "Theme: ansi-dark", "Theme: ansi-light"} <= offered


async def test_help_lists_every_action_that_has_a_key() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app, App)
        shown = app.screen.query(".action")
        assert len(shown) == sum(1 for action in ACTIONS if action.keys)
        await pilot.press("escape")
        await pilot.pause()
        assert app.current_mode in SCREENS
        assert not app.screen.is_modal
