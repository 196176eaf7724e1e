"""From a search to an answer: the models screen over the real store, with a Hub on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.guide import WEIGHTS
from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadState
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.settings.schema import BenchSettings, DownloadSettings, Folders, ServerSettings, Settings
from core.workbench import Workbench
from tests.core.models.downloads.conftest import quant_of
from tests.fakes.hub import LoopbackHub
from tests.fakes.hub_faults import Fault
from tests.tui.conftest import chat_of, finished, notices, until
from tui.app import BenchtopApp
from tui.screens.models.downloads import Transfers
from tui.screens.models.screen import ModelsScreen

REPO = "owner/tiny-GGUF"
QUANT = f"{REPO}:Q8_0"
SETTINGS = Settings(server=ServerSettings(port=0), bench=BenchSettings(enabled=False))


def makes(folder: Path, access: HubAccess) -> Callable[[Settings], Workbench]:
    """Workbenches with a Hub and a queue of downloads of their own."""

    def make(settings: Settings) -> Workbench:
        where = Folders(config=folder / "config", cache=folder / "cache", state=folder / "state")
        workbench = Workbench(settings, where)
        workbench.models.store.hub = Hub(folder / "headers", access)
        workbench.models.store.downloads = Downloads(folder / "downloads", DownloadSettings(reserve=0), access)
        return workbench

    return make


async def test_what_the_end_of_the_program_broke_off_goes_on_at_the_next_start_and_what_was_paused_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with LoopbackHub() as hub:
        for name in ("broken", "paused"):
            hub.add(f"owner/{name}-GGUF", {f"{name}-Q8_0.gguf": WEIGHTS.read_bytes()})
        hub.faults.append(Fault("/cdn/*", stall_after=1_000_000, times=None))
        access = HubAccess(hub.url, tmp_path / "hub")
        before = Downloads(tmp_path / "downloads", DownloadSettings(reserve=0), access)
        broken, paused = (before.enqueue(quant_of(hub, f"owner/{name}-GGUF")) for name in ("broken", "paused"))
        before.pause(paused)
        before.close()
        hub.faults.clear()
        app = BenchtopApp(SETTINGS, "echo", makes(tmp_path, access))
        app.animation_level = "none"
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: app.desk.ready)
            downloads = app.desk.workbench.models.store.downloads
            await until(pilot, lambda: downloads.item(broken).state is DownloadState.DONE)
            assert downloads.item(paused).state is DownloadState.PAUSED
            assert "1 download goes on." in notices(app)


async def test_a_model_is_found_judged_downloaded_loaded_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with LoopbackHub() as hub:
        hub.add(REPO, {"tiny-Q8_0.gguf": WEIGHTS.read_bytes()}, downloads=1234)
        access = HubAccess(hub.url, tmp_path / "hub")

        app = BenchtopApp(SETTINGS, "echo", makes(tmp_path, access))
        app.animation_level = "none"
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: app.desk.ready)
            await pilot.press("f1")
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen._scanned)
            screen = app.screen
            assert isinstance(screen, ModelsScreen)

            await pilot.press("slash", *"tiny-gg")
            await until(pilot, lambda: [item.name for item in screen.table.rows] == [REPO])
            assert not hub.bytes_sent("/cdn/*")

            await pilot.press("enter", "enter")
            await until(pilot, lambda: screen.details.verdict)
            verdict = screen.details.verdict
            assert verdict is not None
            assert (verdict.fit.verdict.value, verdict.largest) == ("fits", 2048)
            assert not list((tmp_path / "hub").rglob("*.gguf"))

            await pilot.press("enter")
            await until(pilot, lambda: screen.details.choice and screen.details.choice.here)
            assert any(f"{QUANT} is here" in notice for notice in notices(app))
            assert any(item.name == QUANT and item.here for item in screen.table.rows)
            assert not screen.query_one(Transfers).display

            await pilot.press("enter")
            await until(pilot, lambda: app.desk.model == QUANT and app.desk.ready)
            await pilot.press("f4", *"What is a KV cache?", "enter")
            await until(pilot, lambda: finished(chat_of(app)))
            assert "KV" in chat_of(app).chat.exchanges[0].answer
