"""The chat pane on a model that generates nothing."""

from pathlib import Path

from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.bert import write_embedder
from tests.fakes.support import folders_in
from tests.tui.conftest import chat_of, finished, shown, until
from tui.app import BenchtopApp
from tui.screens.chat.conversation import Outcome


async def test_an_embedder_in_the_chat_says_what_it_does_and_where_it_is_asked(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "tiny")
    settings = Settings(server=ServerSettings(port=0))
    app = BenchtopApp(settings, str(folder), lambda given: Workbench(given, folders_in(tmp_path)))
    app.animation_level = "none"
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(*"hello", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: finished(screen))
        assert screen.chat.exchanges[0].outcome is Outcome.FAILED
        await until(pilot, lambda: "makes embeddings and cannot generate text" in shown(app, ".stats"))
        assert "/v1/embeddings" in shown(app, ".stats")
