"""The action registry is what the app really does."""

from __future__ import annotations

from collections import Counter

import pytest
from textual.app import App
from textual.dom import DOMNode

from tests.tui.conftest import quiet, until
from tui.actions.action import Action, format_keys
from tui.actions.registry import EVERYWHERE, list_actions
from tui.actions.screens import SCREENS, load_screen_class
from tui.app import BenchtopApp

ACTIONS: list[tuple[Action, type[DOMNode]]] = [
    *((action, BenchtopApp) for action in EVERYWHERE),
    *((action, load_screen_class(name)) for name in SCREENS for action in list_actions(name)),
]
"""Each with its home."""


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_is_found_by_the_name_that_it_gives_itself(name: str) -> None:
    assert name == load_screen_class(name).NAME
    assert list_actions(name) is load_screen_class(name).ACTIONS


@pytest.mark.parametrize(("action", "home"), ACTIONS, ids=lambda each: getattr(each, "id", ""))
def test_every_action_exists_where_it_is_at_home(action: Action, home: type[DOMNode]) -> None:
    assert hasattr(home, f"action_{action.method}")


def test_ids_are_unique() -> None:
    assert max(Counter(action.id for action, _ in ACTIONS).values()) == 1


@pytest.mark.parametrize("name", SCREENS)
def test_no_key_means_two_things_on_one_screen(name: str) -> None:
    counted = Counter(key for action in (*list_actions(name), *EVERYWHERE) for key in action.keys)
    # Escape stops an answer while there is one, and leaves the message otherwise.
    assert {key for key, times in counted.items() if times > 1} <= {"escape"}


def test_every_action_says_what_it_does() -> None:
    for action, _ in ACTIONS:
        assert action.help.endswith(".")
        assert action.name[0].isupper()


def test_keys_are_written_as_people_write_them() -> None:
    assert format_keys(("ctrl+n", "question_mark", "f5", "escape")) == "^n ? F5 esc"


async def test_the_palette_offers_the_registry_and_the_themes() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.pause()
        offered = {command.title for command in app.get_system_commands(app.screen)}
        wanted = {action.name for action in (*list_actions("chat"), *EVERYWHERE) if action.palette}
        assert wanted <= offered
        elsewhere = {
            f"{name.capitalize()}: {action.name}"
            for name in SCREENS
            if name != "chat"
            for action in list_actions(name)
            if action.palette
        }
        assert elsewhere <= offered
        assert {"Theme: graphite", "Theme: ansi-dark", "Theme: ansi-light"} <= offered


async def test_help_lists_every_action_that_has_a_key() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert isinstance(app, App)
        shown = app.screen.query(".action")
        assert len(shown) == sum(1 for action, _ in ACTIONS if action.keys)
        await pilot.press("escape")
        await pilot.pause()
        assert app.current_mode in SCREENS
        assert not app.screen.is_modal


async def test_the_palette_shows_the_keys_of_what_it_offers() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.pause()
        helps = {command.title: command.help for command in app.get_system_commands(app.screen)}
        assert helps["Choose a theme"].startswith("^t: ")
        assert helps["Serve: Start or stop the server"].startswith("s: ")


async def test_what_another_screen_can_do_is_done_there() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        commands["Serve: Usage by model and key"]()
        await until(pilot, lambda: app.current_mode == "serve" and app.screen.is_modal)
