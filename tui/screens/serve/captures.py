"""The requests that were kept: one looked at, two compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from core.capture.exchange import CapturedRequest
from core.capture.export import format_captured_curl
from core.capture.legible import compare_lines, list_request_lines, read_answer
from core.capture.ring import CapturedLine, CaptureRing
from core.errors import BenchtopError
from core.sizes import format_size
from tui import format as fmt
from tui.widgets.plain import Plain
from tui.widgets.table import Cell, Column, RowTable

MOST_LISTED_ROWS = 200
"""Requests that are shown, the newest ones."""
MOST_SHOWN_LINES = 2000
"""Of one request, or of a comparison."""
COLUMNS = (
    Column("no.", 5, right=True),
    Column("when", 8),
    Column("path", 22),
    Column("model", 18, wide_only=True),
    Column("status", 6, right=True),
    Column("asked", 8, right=True, wide_only=True),
    Column("first", 7, right=True),
    Column("took", 7, right=True),
)
_STYLES = {"+": "$gauge-ok", "-": "$error", "@": "$secondary"}


@final
class CapturesScreen(ModalScreen[None]):
    """Captured requests, the newest first; below them the one under the cursor, or how it differs from another."""

    BINDINGS = [
        Binding("escape,q", "dismiss", "Close"),
        Binding("space", "mark", "Compare"),
        Binding("c", "copy_curl", "Copy curl"),
        Binding("r", "reload", "Look again"),
    ]
    AUTO_FOCUS = "#captured"

    def __init__(self, ring: CaptureRing, url: str, key_variable: str | None) -> None:
        """`url`: where a copied curl line asks; `key_variable`: of the environment, where that wants a key."""
        super().__init__()
        self._ring = ring
        self._url = url
        self._key_variable = key_variable
        self._lines: Sequence[CapturedLine] = ()
        self._marked: str | None = None
        """The place of the request that the one under the cursor is compared with."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "captured requests"
            dialog.border_subtitle = "space compares, c copies curl, r looks again, escape closes"
            yield RowTable(COLUMNS, dom_id="captured")
            yield Plain(id="compared")
            with VerticalScroll(id="details"):
                yield Plain(id="detail")

    def on_mount(self) -> None:
        self.query_one("#compared").display = False
        self.reload()

    @work(group="list", exclusive=True)
    async def reload(self) -> None:
        """Read the list."""
        try:
            self._lines = await asyncio.to_thread(self._ring.list_lines, MOST_LISTED_ROWS)
        except BenchtopError as error:
            self._tell(str(error))
            return
        self.query_one(RowTable).show({str(line.place): _cells(line) for line in self._lines})
        if not self._lines:
            self._tell(
                "No request was captured yet."
                if self._ring.is_on
                else "Requests are kept once `capture.requests` is set in the config, or with --capture 100: the last "
                "hundred with their replies, without keys, readable for you alone."
            )

    @on(RowTable.RowHighlighted)
    def _look_at(self) -> None:
        self.look()

    @work(group="look", exclusive=True)
    async def look(self) -> None:
        """Show what is under the cursor."""
        selected = self.query_one(RowTable).selected
        if selected is None:
            return
        try:
            lines = await asyncio.to_thread(self._describe, selected, self._marked)
        except BenchtopError as error:
            self._tell(str(error))
            return
        more = len(lines) - MOST_SHOWN_LINES
        shown = [*lines[:MOST_SHOWN_LINES], f"... {fmt.format_plural(more, 'line')} more"] if more > 0 else lines
        self.query_one("#detail", Plain).update(Content("\n").join(_styled(line, self._marked) for line in shown))
        self.query_one("#details").scroll_home(animate=False)

    def action_mark(self) -> None:
        """Compare what comes under the cursor with what is there now; again to look at each by itself."""
        selected = self.query_one(RowTable).selected
        self._marked = None if self._marked == selected else selected
        told = self.query_one("#compared", Plain)
        told.display = self._marked is not None
        told.update(f"What differs from {self._marked}; space on it shows requests by themselves again.")
        self.look()

    def action_reload(self) -> None:
        self.reload()

    @work(group="copy", exclusive=True)
    async def action_copy_curl(self) -> None:
        selected = self.query_one(RowTable).selected
        if selected is None:
            return
        try:
            _, exchange = await asyncio.to_thread(self._ring.find, selected)
            line = format_captured_curl(exchange, self._url, key_variable=self._key_variable)
        except BenchtopError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self.app.copy_to_clipboard(line)
        self.notify("The curl line is in the clipboard.")

    def _describe(self, selected: str, marked: str | None) -> list[str]:
        """On a thread. Raises BenchtopError."""
        place, exchange = self._ring.find(selected)
        if marked is None or marked == selected:
            return _list_all(exchange)
        other, before = self._ring.find(marked)
        asked = compare_lines(list_request_lines(before), list_request_lines(exchange), (f"{other}", f"{place}"))
        answers = read_answer(before).splitlines(), read_answer(exchange).splitlines()
        answered = compare_lines(*answers, (f"answer of {other}", f"answer of {place}"))
        return [*asked, *answered] or ["They are the same, request and answer."]

    def _tell(self, sentence: str) -> None:
        self.query_one("#detail", Plain).update(sentence)


def _list_all(exchange: CapturedRequest) -> list[str]:
    kept = (
        "" if exchange.is_whole else f" ({format_size(len(exchange.body))} of {format_size(exchange.body_bytes)} kept)"
    )
    answer = read_answer(exchange) or exchange.reply.decode("utf-8", "replace")
    return [
        f"{exchange.method} {exchange.path}  {exchange.request_id}{kept}",
        *(f"{name}: {value}" for name, value in exchange.headers.items()),
        "",
        *list_request_lines(exchange),
        "",
        f"{exchange.status or 'no reply'}, {format_size(exchange.reply_bytes)}",
        *answer.splitlines(),
    ]


def _styled(line: str, marked: str | None) -> Content:
    style = _STYLES.get(line[:1], "") if marked is not None and not line.startswith(("---", "+++")) else ""
    return Content.styled(line, style) if style else Content(line)


def _cells(line: CapturedLine) -> list[Cell]:
    return [
        str(line.place),
        time.strftime("%H:%M:%S", time.localtime(line.began)),
        fmt.clip_text(line.path, 22),
        fmt.clip_text(line.model, 18),
        str(line.status or "-"),
        format_size(line.body_bytes),
        fmt.format_seconds(line.first) if line.first is not None else "-",
        fmt.format_seconds(line.seconds),
    ]
