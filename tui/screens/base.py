"""What the four screens have in common: the title bar above, the footer below, snapshots while they are in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Footer

from core.errors import BenchtopError
from core.snapshots import Snapshot
from tui.session import Desk, model_in
from tui.widgets.titlebar import TitleBar

if TYPE_CHECKING:
    from tui.app import BenchtopApp


class Room(Screen[None]):
    """A screen of the workbench. Subclasses compose `body` and draw from `show`."""

    NAME: ClassVar[str]
    """Its key in `tui.actions.registry.SCREENS`."""

    def compose(self) -> ComposeResult:
        yield TitleBar(self.NAME)
        with Vertical(id="body"):
            yield from self.body()
        yield Footer(compact=True)

    def body(self) -> ComposeResult:
        raise NotImplementedError

    @property
    def bench(self) -> BenchtopApp:
        return cast("BenchtopApp", self.app)

    @property
    def desk(self) -> Desk:
        return self.bench.desk

    @property
    def writing(self) -> bool:
        """Whether something is under way here that the end of the app would cut off."""
        return False

    def on_screen_resume(self) -> None:
        self.bench.pulse()

    def pulse(self, snapshot: Snapshot | None) -> None:
        """Take a snapshot; called a few times a second, only while this screen is in sight."""
        desk = self.desk
        if not self.is_mounted:
            return
        model = model_in(snapshot, desk.model)
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
