"""The downloads: what is on its way, how far it is, and how long it will take; a line, or a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from core.models.downloads.status import DownloadItem, DownloadState
from core.sizes import format_size
from tui import format as fmt
from tui import glyphs
from tui.actions.action import build_download_bindings
from tui.screens.models.actions import ACTIONS
from tui.screens.models.facts import shorten_name
from tui.widgets.gauge import draw_bar
from tui.widgets.plain import Plain, make_drawable
from tui.widgets.row_list import Cell, Field, RowList

BAR_CELLS = 9
MOST_DOWNLOADS = 5
"""Downloads in sight at once."""
NAME_CHARACTERS = 30
"""Characters of a name in the line that sums up."""
FIELDS = (
    Field("download", 0),
    Field("", BAR_CELLS, rank=2),
    Field("%", 4, right=True),
    Field("of", 7, right=True),
    Field("rate", 9, right=True),
    Field("left", 7, right=True, rank=1),
    Field("state", 13),
)
WORST_FIRST = (
    DownloadState.FAILED,
    DownloadState.RETRYING,
    DownloadState.PAUSED,
    DownloadState.VERIFYING,
    DownloadState.QUEUED,
    DownloadState.RUNNING,
)
OVER = (DownloadState.DONE, DownloadState.CANCELLED)
STOPPED = (DownloadState.PAUSED, DownloadState.FAILED)
STYLES = {
    DownloadState.RUNNING: "$gauge-ok",
    DownloadState.RETRYING: "$gauge-warn",
    DownloadState.FAILED: "$gauge-full",
}
DOES = {DownloadState.PAUSED: "goes on", DownloadState.FAILED: "tries again"}
"""What the key that pauses others does with one that is not under way."""
CANCELS = {DownloadState.FAILED: "gives it up", DownloadState.DONE: "takes it off the list"}
NOTHING = "Nothing is being downloaded. Enter on a model that is not here shows its quants."


class DownloadLines(RowList[DownloadItem]):
    """Its keys act on the download under the cursor, also those that would mean a model elsewhere."""

    # To search is possible from here too, but there is no room to say so.
    BINDINGS: ClassVar[list[BindingType]] = [
        *build_download_bindings(ACTIONS),
        Binding("slash", "screen.search", show=False),
    ]


class Transfers(Container):
    """In sight while anything is not done, or while it is looked at. Where there is little room it is a line, and the
    list itself only while the cursor is in it."""

    def __init__(self) -> None:
        super().__init__(id="transfers", classes="panel -shut")
        self.items: tuple[DownloadItem, ...] = ()
        self._open = False
        """It is looked at."""
        self._away = False
        """A line will do, whatever room there is."""
        self._began: set[str] = set()
        """Those seen under way; they stay listed when they are done."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="transfer-line"):
            yield Plain(id="transfer-sum")
            yield Plain("w shows them", id="transfer-key")
        with Vertical(id="transfer-list"):
            yield DownloadLines(FIELDS, lambda item: item.id, self._cells, dom_id="downloads")
            yield Plain(id="transfer-note")

    def on_mount(self) -> None:
        self.border_title = "downloads"
        self.display = False

    @property
    def lines(self) -> RowList[DownloadItem]:
        return self.query_one("#downloads", DownloadLines)

    @property
    def listed(self) -> bool:
        """Whether the list is in sight."""
        return self.display and (self._open or not (self._away or self.screen.has_class("-short")))

    @property
    def selected(self) -> DownloadItem | None:
        """The one under the cursor; None while the list is out of sight."""
        return self.lines.row if self.listed else None

    def show(self, items: Sequence[DownloadItem]) -> None:
        """Draw the state of the downloads, where it changed."""
        if tuple(items) == self.items:
            return
        self.items = tuple(items)
        self._began |= {item.id for item in items if item.state not in OVER}
        self._draw()

    def look(self) -> None:
        """Show the list, with the cursor in it."""
        self._open, self._away = True, False
        self._draw()
        self.call_after_refresh(self.lines.focus)

    def toggle(self) -> bool:
        """Show the list with the cursor in it, or put it away; whether it is shown."""
        if not self._open:
            self.look()
            return True
        self._open, self._away = False, True
        self._draw()
        return False

    def on_click(self) -> None:
        if not self.listed:
            self.look()

    def on_descendant_focus(self) -> None:
        self._open = True
        self._draw()

    def on_descendant_blur(self) -> None:
        self._open = False
        self._draw()

    @on(RowList.Moved, "#downloads")
    def _moved(self, event: RowList.Moved) -> None:
        event.stop()
        self._tell()

    def _draw(self) -> None:
        listed = [item for item in self.items if item.id in self._began and item.state is not DownloadState.CANCELLED]
        left = [item for item in listed if item.state not in OVER]
        if not left and not self._open:
            # Put away for what there was; the next download is shown again.
            self._away = False
        self.display = bool(left) or self._open
        self.set_class(not self._open, "-shut")
        self.set_class(self._away, "-away")
        self.screen.set_class(self._open, "-fetching")
        self.query_one("#transfer-sum", Static).update(summarize_downloads(left, glyphs.find_glyphs(self)))
        self.query_one("#transfer-key", Static).update(_folded_keys(left))
        self.lines.show(listed)
        self.lines.styles.height = min(MOST_DOWNLOADS, max(1, len(listed))) + 1
        self._tell()

    def _tell(self) -> None:
        """Say what is the matter with the selected one, and what the keys do."""
        listed, chosen = self.lines.rows, self.lines.row
        stopped = sum(item.state in STOPPED for item in listed)
        keys = [_keys(chosen.state, "enter or space" if self._open else "space")] if chosen is not None else []
        keys += [f"{stopped} stopped: r goes on with all"] if stopped else []
        keys += ["c clears"] if any(item.state.over for item in listed) else []
        keys[:0] = ["w goes there"] if len(listed) > 1 and not self._open else []
        self.border_subtitle = make_drawable(", ".join(keys))
        said = (chosen.error or chosen.note or "") if chosen is not None else NOTHING
        note = self.query_one("#transfer-note", Static)
        note.display = bool(said)
        note.update(said)

    def _cells(self, item: DownloadItem) -> Sequence[Cell]:
        marks = glyphs.find_glyphs(self)
        share = item.done / item.total if item.total else 1.0
        moving = item.state is DownloadState.RUNNING and item.rate > 0
        return (
            shorten_name(item.name, self.lines.room, marks.cut),
            draw_bar(share, BAR_CELLS, marks, STYLES.get(item.state, "$quiet")),
            format_total_percent(item),
            format_size(item.total),
            f"{format_size(item.rate)}/s" if moving else "-",
            fmt.format_seconds(item.eta) if moving and item.eta is not None else "-",
            Content.styled(describe_state(item), STYLES.get(item.state, "$quiet")),
        )


def _keys(state: DownloadState, key: str) -> str:
    """What can be done with the selected one."""
    does = "" if state is DownloadState.DONE else f"{key} {DOES.get(state, 'pauses')}, "
    return f"{does}x {CANCELS.get(state, 'cancels')}"


def _folded_keys(items: Sequence[DownloadItem]) -> str:
    """Beside the line that sums up."""
    stopped = [item for item in items if item.state in STOPPED]
    if not stopped:
        return "w shows them"
    return "r goes on, w shows" if len(stopped) < len(items) else "r goes on with all, w shows them"


def format_total_percent(*items: DownloadItem) -> str:
    """How much of them is here, rounded down, so that only what is whole has 100%."""
    total = sum(item.total for item in items)
    return f"{int(100 * sum(item.done for item in items) / total) if total else 100}%"


def describe_state(item: DownloadItem) -> str:
    """`running`, or `again in 7 s` for one that waits for its next try."""
    if item.again is None:
        return item.state.value
    seconds = max(1, round(item.again))
    return f"again in {f'{seconds} s' if seconds < 60 else fmt.format_seconds(seconds)}"


def summarize_downloads(items: Sequence[DownloadItem], marks: glyphs.Glyphs) -> Content:
    """`3 downloads 34%, 12.0 MB/s, 1:20 left, 1 again in 7 s, 1 failed`; one alone by its name."""
    if not items:
        return Content("")
    first = (
        shorten_name(items[0].name, NAME_CHARACTERS, marks.cut)
        if len(items) == 1
        else fmt.format_plural(len(items), "download")
    )
    moving = [item for item in items if item.state is DownloadState.RUNNING and item.rate > 0]
    rate, left = sum(item.rate for item in moving), sum(item.total - item.done for item in items if item.state.active)
    parts = [Content(f"{first} {format_total_percent(*items)}")]
    if rate:
        parts += [Content(f"{format_size(rate)}/s"), Content(f"{fmt.format_seconds(left / rate)} left")]
    for state in WORST_FIRST[: -1 if moving else None]:
        if alike := [item for item in items if item.state is state]:
            soonest = min(alike, key=lambda item: item.again or 0.0)
            number = f"{len(alike)} " if len(items) > 1 else ""
            parts.append(Content.styled(f"{number}{describe_state(soonest)}", STYLES.get(state, "$quiet")))
    return Content(", ").join(parts)
