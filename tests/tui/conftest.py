"""Fixtures of the terminal tests: apps that keep still, and waiting for what is to come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from core.conversations.tree import Outcome
from core.settings.merge import Key
from core.settings.schema import ServerSettings, Settings, UiSettings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.tui.still import StillWorkbench
from tui.app import BenchtopApp
from tui.palettes import Palettes
from tui.screens.chat.conversation import Chat, Exchange
from tui.screens.chat.screen import ChatScreen

PATIENCE = 600
"""Turns of a fiftieth of a second a test waits for something before it fails."""


class QuietApp(BenchtopApp):
    """Takes snapshots when asked only, and moves nothing by itself."""

    BEAT_SECONDS = 3600.0
    kept_settings: Mapping[Key, object] = {}

    async def keep_settings(self, changes: Mapping[Key, object]) -> bool:
        """Nobody's config is written."""
        self.kept_settings = {**changes}
        return True


def quiet(
    workbench: StillWorkbench | None = None,
    *,
    theme: str = "graphite",
    model: str = "guide",
    palettes: Palettes | None = None,
) -> QuietApp:
    """An app over a workbench that stands still."""
    still = workbench if workbench is not None else StillWorkbench()
    settings = Settings(ui=UiSettings(theme=theme), server=ServerSettings(port=0))
    app = QuietApp(settings, model, lambda _: cast("Workbench", still), palettes or Palettes(find=lambda _: ()))
    app.animation_level = "none"
    return app


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Let the app run until `condition` holds."""
    for _ in range(PATIENCE):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("What the test waits for never came.")


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.mishaps: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.mishaps.append(self.format(record))


@pytest.fixture
def mishaps_are_meant() -> None:
    """For tests of what happens when a part of the app fails; no other test may pass over a failure."""


@pytest.fixture(autouse=True)
def no_part_of_the_app_fails_unseen(request: pytest.FixtureRequest) -> Iterator[None]:
    """The app goes on after an error, so a test would not notice."""
    heard = _Heard()
    logger = logging.getLogger("tui.mishaps")
    logger.addHandler(heard)
    yield
    logger.removeHandler(heard)
    if "mishaps_are_meant" not in request.fixturenames:
        assert not heard.mishaps, "\n".join(heard.mishaps)


@pytest.fixture
def echo_app(tmp_path: Path) -> BenchtopApp:
    """An app over the real workbench, with the model that says what it was told."""
    return app_on("echo", tmp_path)


def app_on(model: str, folder: Path) -> BenchtopApp:
    """An app over the real workbench, which keeps what it keeps below `folder`."""
    settings = Settings(server=ServerSettings(port=0))
    app = BenchtopApp(settings, model, lambda given: Workbench(given, folders_in(folder)))
    app.config_file = folders_in(folder).config / "config.toml"
    app.animation_level = "none"
    return app


def chat_of(app: BenchtopApp) -> ChatScreen:
    assert isinstance(app.screen, ChatScreen)
    return app.screen


def make_exchange(question: str, model: str = "", *pieces: str) -> Exchange:
    """One that no chat shows."""
    exchange = Chat().ask(question)
    exchange.model = model
    exchange.pieces.extend(pieces)
    return exchange


def finished(screen: ChatScreen, number: int = 1) -> bool:
    done = [exchange for exchange in screen.chat.exchanges if exchange.outcome is not Outcome.WRITING]
    return len(done) == number and screen._writing is None


def shown(app: BenchtopApp, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


def notices(app: BenchtopApp) -> list[str]:
    return [notification.message for notification in app._notifications]
