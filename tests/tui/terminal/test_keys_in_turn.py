"""Keys that come in one burst act as if they had been typed slowly."""

from __future__ import annotations

import asyncio
import time

import pytest
from textual.app import ComposeResult
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Input, Static

from tests.tui.conftest import chat_of, notices, quiet, until
from tests.tui.screens.models.on_models import On, models
from tests.tui.still import StillWorkbench
from tui.dialogs.ask_path import AskPath
from tui.dialogs.confirm import Confirm
from tui.screens.bench.engines_pane import Contest
from tui.screens.bench.screen import BenchScreen
from tui.screens.chat.composer import Composer
from tui.screens.models.rows import ListSection
from tui.screens.models.screen import ModelsScreen
from tui.screens.models.search import SearchField
from tui.terminal.keys_in_turn import PATIENCE_SECONDS, KeysInTurn


def burst(app: KeysInTurn, *keys: str) -> None:
    """All keys at once, before the app has looked at any."""
    for key in keys:
        app.post_message(Key(key, {"slash": "/"}.get(key, key if len(key) == 1 else None)))


def searched(on: On) -> str:
    return on.screen.query_one(SearchField).value


async def test_letters_behind_the_slash_are_searched_for() -> None:
    async with models() as on:
        burst(on.app, "slash", *"dux3 pl1?")
        await until(on.pilot, lambda: searched(on) == "dux3 pl1?")
        assert isinstance(on.app.screen, ModelsScreen)
        assert not on.details.wish.given
        assert notices(on.app) == []


@pytest.mark.parametrize("leave", ["enter", "down"])
async def test_letters_behind_the_key_that_leaves_the_search_are_commands(leave: str) -> None:
    async with models() as on:
        burst(on.app, "slash", *"qwen", leave, "s")
        await until(on.pilot, lambda: on.screen.view.section is ListSection.HERE)
        assert searched(on) == "qwen"


async def test_a_paste_behind_the_slash_is_searched_for() -> None:
    async with models() as on:
        burst(on.app, "slash", "a")
        on.app.post_message(Paste("mistral"))
        burst(on.app, "b")
        await until(on.pilot, lambda: searched(on) == "amistralb")


async def test_a_search_can_be_typed_ahead_of_the_screen_that_it_is_on() -> None:
    app = quiet(StillWorkbench())
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        burst(app, "f1", "slash", *"qwen")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.query(SearchField))
        await until(pilot, lambda: app.screen.query_one(SearchField).value == "qwen")
        assert notices(app) == []


async def test_a_path_can_be_typed_ahead_of_the_dialog_that_asks_for_it() -> None:
    async with models() as on:
        burst(on.app, "o", *"/tmp/dux.gguf")
        await until(on.pilot, lambda: isinstance(on.app.screen, AskPath))
        await until(on.pilot, lambda: on.app.screen.query_one(Input).value == "/tmp/dux.gguf")


async def test_a_question_is_not_answered_before_it_can_be_read() -> None:
    async with models() as on:
        await on.select("Qwen3-0.6B-Q8_0")
        burst(on.app, "d", "y")
        await until(on.pilot, lambda: isinstance(on.app.screen, Confirm))
        assert on.store.deleted == []
        await on.press("y")
        await until(on.pilot, lambda: on.store.deleted)


async def test_what_is_typed_behind_a_wrong_number_goes_into_its_field() -> None:
    app = quiet(StillWorkbench())
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, BenchScreen) and app.screen.query("#rounds"))
        app.screen.query_one("#rounds", Input).value = "none"
        burst(app, "s", "1", "2")
        await until(pilot, lambda: app.screen.query_one("#rounds", Input).value == "12")
        assert isinstance(app.screen, BenchScreen)
        await pilot.press("escape", "e")
        app.screen.query_one("#suite-rounds", Input).value = "none"
        burst(app, "s", "1", "3")
        await until(pilot, lambda: app.screen.query_one("#suite-rounds", Input).value == "13")
        assert not app.screen.query_one(Contest).busy


async def test_letters_behind_the_enter_that_goes_back_to_the_message_stand_in_it_in_order() -> None:
    app = quiet(StillWorkbench())
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("escape")
        burst(app, "enter", *"he1lo")
        await until(pilot, lambda: chat_of(app).query_one(Composer).text == "he1lo")


class Stuck(Static):
    """Does not come to an end with a key before it is let go."""

    can_focus = True

    def __init__(self) -> None:
        super().__init__("stuck")
        self.let_go = asyncio.Event()

    async def on_key(self) -> None:
        await self.let_go.wait()


class Sticking(KeysInTurn):
    asked_to_quit = False

    def compose(self) -> ComposeResult:
        yield Stuck()
        yield Input()

    async def action_quit(self) -> None:
        self.asked_to_quit = True


async def test_a_widget_that_is_stuck_with_a_key_does_not_keep_the_keys_behind_it_for_ever() -> None:
    app = Sticking()
    async with app.run_test() as pilot:
        field, stuck = app.query_one(Input), app.query_one(Stuck)
        burst(app, "x")
        field.focus()
        burst(app, *"abc")
        # A pilot would wait for the widget that is stuck.
        while field.value != "abc":
            await asyncio.sleep(0.02)
        stuck.let_go.set()
        await pilot.pause()


async def test_the_key_that_quits_waits_for_no_other() -> None:
    app = Sticking()
    async with app.run_test() as pilot:
        burst(app, *"xab", "ctrl+q")
        while not app.asked_to_quit:
            await asyncio.sleep(0.02)
        assert [event.key for event in app._held] == ["a", "b"]  # type: ignore[union-attr]
        app.query_one(Stuck).let_go.set()
        await pilot.pause()


class Passing(Static):
    """Takes long over a key, with all else, and has the focus go on in the end."""

    can_focus = True

    class Begun(Message):
        pass

    class Ended(Message):
        pass

    def on_key(self) -> None:
        time.sleep(PATIENCE_SECONDS * 1.1)  # A machine that is slow as a whole
        self.post_message(self.Begun())

    def on_passing_begun(self) -> None:
        self.post_message(self.Ended())

    def on_passing_ended(self) -> None:
        self.screen.query_one(Input).focus()


async def test_keys_stay_in_turn_where_the_whole_app_is_slow() -> None:
    class Slow(KeysInTurn):
        def compose(self) -> ComposeResult:
            yield Passing("x")
            yield Input()

    app = Slow()
    async with app.run_test() as pilot:
        burst(app, *"xabc")
        await until(pilot, lambda: app.query_one(Input).value == "abc")
