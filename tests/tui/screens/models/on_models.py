"""The models screen of an app that keeps still, and what tests do with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textual.pilot import Pilot
from textual.widgets import Static

from core.models.downloads.status import DownloadItem, DownloadState
from tests.tui.conftest import QuietApp, quiet, until
from tests.tui.still import ECHO, GUIDE, StillWorkbench
from tests.tui.still_store import MEGA, QWEN, StillStore
from tui.screens.models.details import Details
from tui.screens.models.screen import ModelsScreen
from tui.screens.models.table import ShelfTable

HALF = DownloadItem("dl-1", f"{QWEN}:Q4_K_M", DownloadState.RUNNING, 2_497 * MEGA, 1_248 * MEGA, 41.0 * MEGA)


class On:
    """The models screen of an app that keeps still."""

    def __init__(self, pilot: Pilot[None], app: QuietApp, still: StillWorkbench) -> None:
        self.pilot, self.app, self.still = pilot, app, still
        self.store: StillStore = still.store

    @property
    def screen(self) -> ModelsScreen:
        assert isinstance(self.app.screen_stack[0], ModelsScreen)
        return self.app.screen_stack[0]

    @property
    def table(self) -> ShelfTable:
        return self.screen.table

    @property
    def details(self) -> Details:
        return self.screen.details

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.table.rows]

    def text(self) -> str:
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    def said(self, selector: str) -> str:
        return str(self.screen.query_one(selector, Static).render())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until_shown(self, words: str) -> None:
        await until(self.pilot, lambda: words in self.text())

    async def select(self, name: str) -> None:
        item = next(item for item in self.table.rows if item.name == name)
        self.table.select(item.key)
        await self.pilot.pause()

    async def beat(self) -> None:
        """A snapshot, and the look at the downloads that comes with it."""
        self.app.pulse()
        await self.pilot.pause()
        await until(self.pilot, lambda: not self.screen._polling)

    async def quants_of(self, name: str) -> None:
        await self.select(name)
        await self.press("enter")
        await until(self.pilot, lambda: self.details.leaf.verdicts and self.details.quants.has_focus)


@asynccontextmanager
async def models(still: StillWorkbench | None = None, size: tuple[int, int] = (120, 40)) -> AsyncIterator[On]:
    still = still or StillWorkbench((GUIDE, ECHO))
    app = quiet(still)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen._scanned)
        await pilot.pause()
        yield On(pilot, app, still)
