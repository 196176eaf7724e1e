"""What fails inside the app is told once, logged with its traceback, and everything goes on; with real failures."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.events import Key, Resize
from textual.message import Message
from textual.pilot import Pilot
from textual.reactive import reactive
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Input, Static

from core.settings.schema import Settings
from tests.tui.conftest import quiet, until
from tui.actions.registry import EVERYWHERE, list_actions
from tui.app import BenchtopApp
from tui.unbreakable import UnbreakableApp


class Fails(Static):
    """Raises wherever it is asked to."""

    can_focus = True
    number = reactive(0)

    class Asked(Message):
        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def __init__(self, *, dom_id: str = "fails") -> None:
        super().__init__("as it was", id=dom_id)
        self.heard: list[str] = []
        self.drawing = True

    def on_fails_asked(self, event: Asked) -> None:
        self.heard.append(event.what)
        if event.what == "handler":
            raise KeyError("handler")
        if event.what == "watcher":
            self.number += 1
        if event.what == "cancelled":
            raise asyncio.CancelledError

    def watch_number(self, number: int) -> None:
        if number:
            raise LookupError("watcher")

    def boom(self) -> None:
        raise RuntimeError("callback")

    def action_boom(self) -> None:
        raise ZeroDivisionError("action")

    def on_key(self, event: Key) -> None:
        if event.key == "k":
            raise ValueError("key")

    def on_resize(self, event: Resize) -> None:
        if event.size.width == 61:
            raise OSError("resize")

    def render(self) -> Content:
        if not self.drawing:
            raise TypeError("render")
        return Content("as it was")


class Watches(Static):
    """Its watcher fails when it is called for the first time, which is while it is mounted."""

    number = reactive(1)

    def watch_number(self, number: int) -> None:
        raise LookupError(f"watcher of {number}")


class BrokenLines(Widget):
    """Draws lines of its own, and fails at it."""

    def render_line(self, y: int) -> Strip:
        raise IndexError(f"line {y}")


class First(Screen[None]):
    NAME = "first"
    BINDINGS = [("b", "boom", "Boom")]

    def compose(self) -> ComposeResult:
        yield Fails()
        yield Static("beside it", id="beside")
        yield Input(id="field")

    def action_boom(self) -> None:
        raise ZeroDivisionError("action")


class NoCompose(Screen[None]):
    NAME = "second"

    def compose(self) -> ComposeResult:
        yield Static("a part of it")
        raise AttributeError("compose")


class NoInit(Screen[None]):
    NAME = "third"

    def __init__(self) -> None:
        super().__init__()
        raise MemoryError("init")


class NoChecks(Screen[None]):
    NAME = "fourth"
    BINDINGS = [("x", "thing", "Thing")]

    def compose(self) -> ComposeResult:
        yield Static("here")
        yield Footer()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        self.query_one("#not-mounted")
        return True


class NoDialog(ModalScreen[None]):
    def compose(self) -> ComposeResult:
        raise TypeError("dialog")


class House(UnbreakableApp):
    MODES = {"first": First, "second": NoCompose, "third": NoInit, "fourth": NoChecks}
    DEFAULT_MODE = "first"
    SECRET = "a local that nobody may see"

    def on_mount(self) -> None:
        self.beats = 0

    def fail_in_beat(self) -> None:
        self.beats += 1
        raise RuntimeError("beat")


pytestmark = pytest.mark.usefixtures("mishaps_are_meant")


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep = Keep()
    logging.getLogger("tui.mishaps").addHandler(keep)
    yield records
    logging.getLogger("tui.mishaps").removeHandler(keep)


def notices(app: App[Any]) -> list[str]:
    return [notification.message for notification in app._notifications]


def fails(app: House) -> Fails:
    return app.screen.query_one("#fails", Fails)


async def asked(pilot: Pilot[None], what: str) -> None:
    fails(cast("House", pilot.app)).post_message(Fails.Asked(what))
    await pilot.pause()


async def _in_a_handler(pilot: Pilot[None]) -> None:
    await asked(pilot, "handler")


async def _in_a_watcher(pilot: Pilot[None]) -> None:
    await asked(pilot, "watcher")


async def _where_what_was_awaited_is_cancelled(pilot: Pilot[None]) -> None:
    await asked(pilot, "cancelled")


async def _in_a_key(pilot: Pilot[None]) -> None:
    fails(cast("House", pilot.app)).focus()
    await pilot.press("k")


async def _in_an_action(pilot: Pilot[None]) -> None:
    fails(cast("House", pilot.app)).focus()
    await pilot.press("b")


async def _in_a_resize(pilot: Pilot[None]) -> None:
    await pilot.resize_terminal(61, 20)


async def _after_a_refresh(pilot: Pilot[None]) -> None:
    widget = fails(cast("House", pilot.app))
    widget.call_after_refresh(widget.boom)
    await pilot.pause()


async def _next(pilot: Pilot[None]) -> None:
    widget = fails(cast("House", pilot.app))
    widget.call_next(widget.boom)
    await pilot.pause()


async def _later(pilot: Pilot[None]) -> None:
    widget = fails(cast("House", pilot.app))
    widget.call_later(widget.boom)
    await pilot.pause()


async def _in_a_timer(pilot: Pilot[None]) -> None:
    widget = fails(cast("House", pilot.app))
    widget.set_timer(0.001, widget.boom)
    await until(pilot, lambda: notices(pilot.app))


async def _in_a_worker(pilot: Pilot[None]) -> None:
    async def work() -> None:
        raise RuntimeError("worker")

    fails(cast("House", pilot.app)).run_worker(work())
    await until(pilot, lambda: notices(pilot.app))


async def _on_a_thread(pilot: Pilot[None]) -> None:
    fails(cast("House", pilot.app)).run_worker(lambda: 1 // 0, thread=True)
    await until(pilot, lambda: notices(pilot.app))


async def _while_drawing(pilot: Pilot[None]) -> None:
    widget = fails(cast("House", pilot.app))
    widget.drawing = False
    widget.refresh(layout=True)
    await until(pilot, lambda: notices(pilot.app))


async def _while_drawing_a_line(pilot: Pilot[None]) -> None:
    await pilot.app.screen.mount(BrokenLines())
    await until(pilot, lambda: notices(pilot.app))


async def _at_the_first_call_of_a_watcher(pilot: Pilot[None]) -> None:
    await pilot.app.screen.mount(Watches())
    await pilot.pause()


async def _in_a_child_of_a_library_widget(pilot: Pilot[None]) -> None:
    table: DataTable[str] = DataTable()
    await pilot.app.screen.mount(table)
    table.call_later(table.get_row, "no such row")
    await pilot.pause()


BREAKS: tuple[Callable[[Pilot[None]], object], ...] = (
    _in_a_handler,
    _in_a_watcher,
    _where_what_was_awaited_is_cancelled,
    _in_a_key,
    _in_an_action,
    _in_a_resize,
    _after_a_refresh,
    _next,
    _later,
    _in_a_timer,
    _in_a_worker,
    _on_a_thread,
    _while_drawing,
    _while_drawing_a_line,
    _at_the_first_call_of_a_watcher,
    _in_a_child_of_a_library_widget,
)


@pytest.mark.parametrize("break_at", BREAKS, ids=lambda break_at: break_at.__name__.strip("_"))
async def test_a_failure_is_one_sentence_and_one_entry_and_all_goes_on(
    break_at: Callable[[Pilot[None]], object], logged: list[logging.LogRecord]
) -> None:
    app = House()
    async with app.run_test(size=(80, 20), notifications=True) as pilot:
        await pilot.pause()
        await cast("asyncio.Future[None]", break_at(pilot))
        await pilot.pause()
        (told,) = notices(app)
        assert re.match(r"Something in the (app|first screen) failed \(\w+", told)
        assert "\n" not in told
        (entry,) = logged
        assert entry.exc_info is not None
        # The very widget takes its next message, the others theirs.
        await asked(pilot, "again")
        assert fails(app).heard[-1] == "again"
        app.screen.query_one("#field", Input).focus()
        await pilot.press("o", "k")
        assert app.screen.query_one("#field", Input).value == "ok"
        assert "beside it" in "\n".join(strip.text for strip in app.screen._compositor.render_strips())
    assert app.fault is None
    assert app.return_code in (None, 0)


async def test_a_timer_that_always_fails_is_told_once_and_keeps_its_beat(logged: list[logging.LogRecord]) -> None:
    app = House()
    async with app.run_test(notifications=True) as pilot:
        app.set_interval(0.001, app.fail_in_beat)
        await until(pilot, lambda: app.beats > 50)
        assert len(notices(app)) == 1
        assert len(logged) == 1


async def test_a_screen_that_cannot_be_composed_gives_way_to_the_one_before() -> None:
    app = House()
    async with app.run_test(notifications=True) as pilot:
        for _ in range(2):
            app.switch_mode("second")
            await until(pilot, lambda: app.current_mode == "first" and notices(app))
        assert "Something in the second screen failed (AttributeError: compose)" in notices(app)[0]
        await asked(pilot, "again")
        assert fails(app).heard == ["again"]


async def test_a_screen_that_cannot_be_made_leaves_the_one_there_is() -> None:
    app = House()
    async with app.run_test(notifications=True) as pilot:
        app.switch_mode("third")
        await until(pilot, lambda: notices(app))
        assert app.current_mode == "first"
        await asked(pilot, "again")
        assert fails(app).heard == ["again"]


async def test_actions_that_cannot_be_asked_about_leave_the_footer_without_them() -> None:
    app = House()
    async with app.run_test(notifications=True) as pilot:
        app.switch_mode("fourth")
        await until(pilot, lambda: notices(app))
        assert app.current_mode == "fourth"
        assert "here" in "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def test_a_dialog_that_cannot_be_composed_goes_again() -> None:
    app = House()
    async with app.run_test(notifications=True) as pilot:
        app.push_screen(NoDialog())
        await until(pilot, lambda: notices(app))
        assert isinstance(app.screen, First)
        assert "Something in a dialog failed (TypeError" in notices(app)[0]


class Hopeless(UnbreakableApp):
    MODES = {"second": NoCompose, "third": NoInit}
    DEFAULT_MODE = "second"


class Starts(UnbreakableApp):
    MODES = {"third": NoInit, "second": NoCompose, "first": First}
    DEFAULT_MODE = "third"


async def test_an_app_whose_first_screens_fail_opens_on_the_next() -> None:
    app = Starts()
    async with app.run_test(notifications=True) as pilot:
        await until(pilot, lambda: app.current_mode == "first" and len(notices(app)) == 2)
        assert app.fault is None


async def test_an_app_without_any_screen_ends_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    app = Hopeless()
    await app.run_async(headless=True)
    assert isinstance(app.fault, AttributeError)
    assert app.return_code == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "locals" not in captured.out + captured.err


@pytest.mark.parametrize("name", list(BenchtopApp.MODES))
async def test_a_screen_without_its_widgets_can_be_asked_for_its_actions(name: str) -> None:
    # As the footer does while the screen is on its way.
    app = BenchtopApp(Settings())
    make = app.MODES[name]
    assert callable(make)
    screen = make()
    for action in (*list_actions(name), *EVERYWHERE):
        screen.check_action(action.method, ())


async def test_going_to_the_models_while_the_footer_of_the_chat_is_rebuilt_asks_no_screen_in_vain() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        chat = app.screen
        for _ in range(5):
            chat.refresh_bindings()
            app.action_go("models")
            chat.refresh_bindings()
            app.screen.refresh_bindings()
            app.action_go("chat")
            await pilot.pause()
        app.action_go("models")
        await until(pilot, lambda: app.current_mode == "models" and app.screen.query_one(Footer).children)
        assert notices(app) == []


BROKEN = """
import sys
import tui.app
from tui.cli.main import main
from tui.screens.base import WorkbenchScreen

class Broken(WorkbenchScreen):
    NAME = "broken"

    def body(self):
        secret = "a-local-variable"
        raise RuntimeError("no room")

tui.app.BenchtopApp.MODES = {modes}
sys.exit(main(["echo", "--port", "0"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not for Windows")
def test_in_a_terminal_a_screen_that_fails_is_told_of_and_the_others_go_on(tmp_path: Path) -> None:
    from tests.tui.terminal.terminals import running

    script = BROKEN.replace("{modes}", '{**tui.app.BenchtopApp.MODES, "bench": Broken}')
    with running(tmp_path, program=("-c", script)) as terminal:
        terminal.until("echo ● ready")
        terminal.type("\x1bOQ")
        terminal.until("Something in the bench screen")
        terminal.type("hello\r")
        # The line below the answer is hidden by what was told.
        terminal.until("echo · none · echo")
        assert terminal.leave() == 0
        assert b"a-local-variable" not in terminal.came
    assert "RuntimeError: no room" in (tmp_path / "state" / "benchtop.log").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not for Windows")
def test_an_app_that_cannot_go_on_gives_the_terminal_back_and_says_why_in_one_sentence(tmp_path: Path) -> None:
    from tests.tui.terminal.terminals import running

    with running(tmp_path, program=("-c", BROKEN.replace("{modes}", '{"chat": Broken}'))) as terminal:
        assert terminal.ended() == 1
        left = terminal.came.rpartition(b"\x1b[?1049l")[2].decode()
        (line,) = [each for each in left.splitlines() if "tui:" in each]
        assert "RuntimeError: no room" in line
        assert "benchtop.log" in line
        assert "Traceback" not in left
        assert b"a-local-variable" not in terminal.came
