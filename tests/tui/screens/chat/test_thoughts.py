"""Thoughts in the chat: a key has the model answer when it has thought enough."""

from __future__ import annotations

from pathlib import Path

from core.chat.chatml import CHATML_WITH_TOOLS
from core.engines.echo import EchoEngine
from core.engines.registry import Engines
from core.settings.model import ModelSettings
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.tui.conftest import chat_of, finished, until
from tui.app import BenchtopApp


class Musing(EchoEngine):
    """Thinks for long before it answers."""

    def __init__(self) -> None:
        super().__init__(lambda _: "<think>\n" + "hm " * 33_000 + "\n</think>\n\nYes.", CHATML_WITH_TOOLS)


async def test_a_key_ends_the_thought_and_the_answer_follows(tmp_path: Path) -> None:
    engines = Engines({"echo": f"{__name__}:Musing"})
    settings = Settings(server=ServerSettings(port=0), model=ModelSettings(ctx_size=200_000, slots=1))
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
        assert exchange.answer == "Yes."
        assert 0 < len(exchange.thought) < 99_000
        assert screen.check_action("end_thought", ()) is False
