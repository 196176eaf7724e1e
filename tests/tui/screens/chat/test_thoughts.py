"""Thoughts in the chat: a key has the model answer when it has thought enough."""

from __future__ import annotations

from pathlib import Path

from core.engines.registry import Engines
from core.settings.model import ModelSettings
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.brooding import ANSWER
from tests.fakes.support import folders_in
from tests.tui.conftest import chat_of, finished, until
from tui.app import BenchtopApp


async def test_a_key_ends_the_thought_and_the_answer_follows(tmp_path: Path) -> None:
    engines = Engines({"echo": "tests.fakes.brooding:BroodingEngine"})
    settings = Settings(server=ServerSettings(port=0), model=ModelSettings(ctx_size=200_000, slots=1, draft="none"))
    app = BenchtopApp(settings, "echo", lambda settings: Workbench(settings, folders_in(tmp_path), engines))
    app.animation_level = "none"
    async with app.run_test() as pilot:
        screen = chat_of(app)
        assert screen.check_action("end_thought", ()) is False
        await pilot.press(*"well", "enter")
        await until(pilot, lambda: screen.chat.exchanges and screen.chat.exchanges[0].thinking)
        assert screen.check_action("end_thought", ())
        await pilot.press("alt+t")
        await until(pilot, lambda: finished(screen))
        (exchange,) = screen.chat.exchanges
        assert exchange.answer == ANSWER
        assert 0 < len(exchange.thought) < 99_000
        assert screen.check_action("end_thought", ()) is False
