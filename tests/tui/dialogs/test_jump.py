"""Jump mode: a key shows letters at what can take the focus, and a letter goes there."""

from __future__ import annotations

from textual.geometry import Offset, Region
from textual.widgets import Button, Input

from tests.tui.conftest import quiet, until
from tui.app import BenchtopApp
from tui.dialogs.jump import LETTERS, JumpScreen, place_labels
from tui.screens.chat.composer import Composer
from tui.screens.chat.transcript import TranscriptView
from tui.screens.serve.address import AddressDialog


def drawn(app: BenchtopApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def test_a_letter_goes_to_its_place_and_is_not_written_into_the_message() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"hello", "ctrl+g")
        await until(pilot, lambda: isinstance(app.screen, JumpScreen) and " a " in drawn(app))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.focused, TranscriptView))
        assert app.screen.query_one(Composer).text == "hello"
        # And without the key letters go to the message, wherever the focus is.
        await pilot.press("a")
        await until(pilot, lambda: app.screen.query_one(Composer).text == "helloa")


async def test_escape_leaves_all_as_it_was() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        for key in ("escape", "ctrl+g", "Z"):
            await pilot.press("ctrl+g")
            await until(pilot, lambda: isinstance(app.screen, JumpScreen))
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(app.screen, JumpScreen))
            assert isinstance(app.focused, Composer)
        assert app.screen.query_one(Composer).text == ""


async def test_letters_typed_ahead_wait_for_the_places() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await pilot.pause()
        number = next(number for number, each in enumerate(app.screen.focus_chain) if isinstance(each, Button))
        await pilot.press("ctrl+g", LETTERS[number])
        await until(pilot, lambda: isinstance(app.focused, Button))


async def test_one_may_jump_in_a_dialog() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3", "e")
        await until(pilot, lambda: isinstance(app.screen, AddressDialog))
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(app.screen, JumpScreen))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.id == "key")
        assert isinstance(app.screen, AddressDialog)


def test_no_label_lies_upon_another() -> None:
    places = place_labels([Region(0, 0, 80, 20), Region(0, 0, 80, 10), Region(2, 0, 10, 1), Region(0, 1, 10, 1)])
    assert places == [Offset(0, 0), Offset(3, 0), Offset(6, 0), Offset(0, 1)]
