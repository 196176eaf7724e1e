"""What the screens have in common: the title bar above, the footer below, snapshots while they are in sight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import Vertical
from textual.events import Resize

from core.errors import BenchtopError
from core.settings.merge import Key
from core.settings.schema import Settings
from core.snapshots import Snapshot
from tui.actions.screens import ActionScreen
from tui.compositor import ThoroughCompositor
from tui.glyphs import Glyphs
from tui.session import Desk, LoadWish, find_model
from tui.widgets.key_line import KeyLine
from tui.widgets.log_tail import LogTail
from tui.widgets.titlebar import TitleBar


class Shell(Protocol):
    """What screens know of the app they belong to."""

    desk: Desk
    settings: Settings
    config_file: Path
    glyphs: Glyphs
    log_tail: LogTail

    def load(self, name: str, wish: LoadWish = LoadWish()) -> object:
        """Begin to load a model; what hinders that is told in a toast."""
        ...

    def answering(self, model: str | None = None) -> int:
        """Answers being written, for chat or for clients, by one model or by any."""
        ...

    async def keep_settings(self, changes: Mapping[Key, object]) -> bool:
        """Write settings to the config file; False where that cannot be, which is told."""
        ...

    def pulse(self) -> None:
        """Show the screen in sight a fresh snapshot, outside its turn."""
        ...


LOW_LINES = 18
"""Lines of a terminal below which a screen shows what it is for alone."""


class WorkbenchScreen(ActionScreen):
    """A screen of the workbench. Subclasses compose `body` and draw from `show`."""

    def __init__(self) -> None:
        super().__init__()
        self._compositor = ThoroughCompositor()

    def compose(self) -> ComposeResult:
        yield TitleBar(self.NAME)
        with Vertical(id="body"):
            yield from self.body()
        yield KeyLine()

    @abstractmethod
    def body(self) -> ComposeResult:
        """What stands between the title bar and the footer."""

    @property
    def bench(self) -> Shell:
        return cast("Shell", self.app)

    @property
    def desk(self) -> Desk:
        return self.bench.desk

    def offers(self, action: str) -> bool:
        """Whether the footer names a Textual action that can be had; the default names all."""
        return True

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        bindings = super().active_bindings
        for key, bound in bindings.items():
            if bound.binding.show and not self.offers(bound.binding.action):
                bindings[key] = bound._replace(binding=replace(bound.binding, show=False))
        return bindings

    @property
    def writing(self) -> bool:
        """Whether something is under way here that the end of the app would cut off."""
        return False

    def leave_off(self) -> None:
        """The app is about to end; what is under way here is brought to an end that can be kept."""

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < LOW_LINES, "-low")

    def on_screen_resume(self) -> None:
        self.bench.pulse()

    def pulse(self, snapshot: Snapshot | None) -> None:
        """Take a snapshot; called a few times a second, only while this screen is in sight."""
        desk = self.desk
        if not self.is_mounted:
            return
        model = find_model(snapshot, desk.model)
        self.query_one(TitleBar).show(
            model.name if model else desk.model,
            model,
            desk.live_server.url if desk.live_server else None,
            desk.problem is not None and not desk.unloaded,
            unloaded=desk.unloaded,
        )
        if snapshot is not None:
            self.show(snapshot)

    def show(self, snapshot: Snapshot) -> None:
        """Draw what this screen is about. The default shows nothing."""

    def complain(self, error: BenchtopError) -> None:
        """Tell the user of an error, in its own words."""
        self.notify(str(error), severity="error", timeout=12, markup=False)
