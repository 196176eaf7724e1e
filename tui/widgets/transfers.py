"""The downloads: what is on its way, how far it is, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from core.models.downloads.items import DownloadItem, DownloadState
from tui import format as fmt
from tui import glyphs
from tui.widgets.facts import short_name
from tui.widgets.gauge import bar
from tui.widgets.lines import Cell, Field, Lines

BAR = 12
FIELDS = (
    Field("download", 0),
    Field("", BAR, rank=2),
    Field("%", 4, right=True),
    Field("of", 7, right=True),
    Field("rate", 9, right=True),
    Field("left", 7, right=True, rank=1),
    Field("state", 10),
)
OVER = (DownloadState.DONE, DownloadState.CANCELLED)
STOPPED = (DownloadState.PAUSED, DownloadState.FAILED)
STYLES = {
    DownloadState.RUNNING: "$gauge-ok",
    DownloadState.RETRYING: "$gauge-warn",
    DownloadState.FAILED: "$gauge-full",
}


class Transfers(Container):
    """In sight while anything is not done, or when it was asked for."""

    def __init__(self) -> None:
        super().__init__(id="transfers", classes="panel")
        self.items: tuple[DownloadItem, ...] = ()
        self._wanted: bool | None = None
        """What the user asked for last; None leaves it to whether there is anything."""
        self._began: set[str] = set()
        """Those seen under way; they stay listed when they are done."""

    def compose(self) -> ComposeResult:
        yield Lines(FIELDS, lambda item: item.id, self._cells, dom_id="downloads")
        yield Static(id="transfer-note", markup=False)

    def on_mount(self) -> None:
        self.border_title = "downloads"
        self.display = False

    @property
    def lines(self) -> Lines[DownloadItem]:
        return self.query_one("#downloads", Lines)

    @property
    def selected(self) -> DownloadItem | None:
        """The one under the cursor; None while the panel is out of sight."""
        return self.lines.row if self.display else None

    def show(self, items: Sequence[DownloadItem]) -> None:
        """Draw the state of the downloads, where it changed."""
        if tuple(items) == self.items:
            return
        self.items = tuple(items)
        self._began |= {item.id for item in items if item.state not in OVER}
        self._draw()

    def toggle(self) -> None:
        """Show it with the cursor in it, or put it away."""
        self._wanted = not self.display
        self._draw()
        if self.display:
            self.lines.focus()

    def _draw(self) -> None:
        listed = [item for item in self.items if item.id in self._began and item.state is not DownloadState.CANCELLED]
        open_ones = [item for item in listed if item.state not in OVER]
        self.display = bool(open_ones) if self._wanted is None else self._wanted
        if not open_ones and self._wanted is False:
            # Put away for what there was; the next download is shown again.
            self._wanted = None
        self.lines.show(listed)
        self.lines.styles.height = min(4, max(1, len(listed))) + 1
        stopped = sum(item.state in STOPPED for item in listed)
        keys = ["space pauses, x cancels"] if open_ones else []
        keys += [f"{stopped} stopped: r goes on with all"] if stopped else []
        self.border_subtitle = ", ".join(keys)
        self.screen.set_class(self.display, "-moving")
        note = self.query_one("#transfer-note", Static)
        said = next((item.error or item.note for item in listed if item.error or item.note), None)
        said = said or (
            "" if listed else "Nothing is being downloaded. Enter on a model that is not here shows its quants."
        )
        note.display = bool(said)
        note.update(said)

    def _cells(self, item: DownloadItem) -> Sequence[Cell]:
        marks = glyphs.of(self)
        share = item.done / item.total if item.total else 1.0
        moving = item.state is DownloadState.RUNNING and item.rate > 0
        return (
            short_name(item.name, self.lines.room, marks.cut),
            bar(share, BAR, marks, STYLES.get(item.state, "$quiet")),
            percent(item),
            fmt.size(item.total),
            f"{fmt.size(item.rate)}/s" if moving else "-",
            fmt.seconds(item.eta) if moving and item.eta is not None else "-",
            Content.styled(item.state.value, STYLES.get(item.state, "$quiet")),
        )


def percent(item: DownloadItem) -> str:
    """Rounded down, so that only what is whole has 100%."""
    return f"{int(100 * item.done / item.total) if item.total else 100}%"
