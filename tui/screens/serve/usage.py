"""What requests have used, by model, by key and by day, as the account has it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final, final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from core.serving.usage_ledger import UsageLedger
from core.snapshots import UsageTotals
from core.usage import UsageBy, UsageRow, sum_usage
from tui import format as fmt
from tui.usage_words import COUNT_WRITERS, name_group
from tui.widgets.plain import Plain
from tui.widgets.row_list import Cell, Field, List

MOST_ROWS: Final = 2_000


class Period(Enum):
    """Days of this machine's clock, today among them; the value is how many, None for all."""

    TODAY = 1
    WEEK = 7
    MONTH = 30
    EVER = None

    @property
    def words(self) -> str:
        if self is Period.EVER:
            return "since the beginning"
        return "today" if self is Period.TODAY else f"the last {self.value} days"

    def begin(self, today: date) -> date | None:
        """Its first day."""
        return None if self.value is None else today - timedelta(days=self.value - 1)


_COUNTS: Final = (
    Field("requests", 8, right=True),
    Field("failed", 6, right=True, rank=1),
    Field("left", 5, right=True, rank=2),
    Field("in", 6, right=True),
    Field("cached", 6, right=True),
    Field("out", 6, right=True),
    Field("thought", 7, right=True, rank=1),
    Field("time", 8, right=True, rank=1),
)


@final
class UsageDialog(ModalScreen[None]):
    """One view at a time, with its sum below."""

    BINDINGS = [
        Binding("escape,q", "dismiss", "Close"),
        Binding("b,tab", "turn", "By model, key or day", priority=True),
        Binding("p", "period", "Another period"),
        Binding("r", "read", "Look again"),
    ]
    AUTO_FOCUS = "#used"

    def __init__(self, ledger: UsageLedger | None) -> None:
        """`ledger`: None where no account is kept."""
        super().__init__()
        self._ledger = ledger
        self._by = UsageBy.MODEL
        self._period = Period.TODAY

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "usage"
            dialog.border_subtitle = "tab turns, p another period, r looks again, escape closes"
            yield Plain(id="usage-view")
            yield List[UsageRow](self._fields, self._name_row, self._write_row, dom_id="used")
            yield Plain(id="usage-sum")

    def on_mount(self) -> None:
        self.action_read()

    @property
    def _fields(self) -> Sequence[Field]:
        return (Field(self._by.value, 0), *_COUNTS)

    def _name_row(self, row: UsageRow) -> str:
        return name_group(row, self._by)

    def _write_row(self, row: UsageRow) -> Sequence[Cell]:
        return [self._name_row(row), *(COUNT_WRITERS[field.title](row) for field in _COUNTS)]

    def action_turn(self) -> None:
        order = (UsageBy.MODEL, UsageBy.KEY, UsageBy.DAY)
        self._by = order[(order.index(self._by) + 1) % len(order)]
        self.action_read()

    def action_period(self) -> None:
        order = list(Period)
        self._period = order[(order.index(self._period) + 1) % len(order)]
        self.action_read()

    @work(group="read", exclusive=True)
    async def action_read(self) -> None:
        """Read the account; it waits for the disk, so elsewhere."""
        view = self.query_one("#usage-view", Plain)
        view.update(f"by {self._by.value}, {self._period.words}")
        if self._ledger is None:
            self._tell("No account is kept: usage.enabled is false in the settings.")
            return
        since = self._period.begin(datetime.now().astimezone().date())
        try:
            rows = await asyncio.to_thread(self._ledger.account.read, self._by, since=since)
        except (sqlite3.Error, OSError) as error:
            self._tell(f"The account {self._ledger.account.path} cannot be read: {error}.")
            return
        table: List[UsageRow] = self.query_one("#used", List)
        table.set_fields(self._fields)
        ordered = rows if self._by is UsageBy.DAY else sorted(rows, key=_count_tokens)
        table.show([*reversed(ordered)][:MOST_ROWS], fresh=True)
        self._sum_up(sum_usage(rows))

    def _sum_up(self, total: UsageTotals) -> None:
        if not total.requests:
            self._tell(f"Nothing was used {self._period.words}.")
            return
        parts = [
            fmt.format_plural(total.requests, "request"),
            f"{fmt.format_count(total.prompt_tokens)} tokens in",
            f"{fmt.format_percent(total.cached_tokens, total.prompt_tokens)} of them reused",
            f"{fmt.format_count(total.completion_tokens)} out",
        ]
        self.query_one("#usage-sum", Plain).update(Content.assemble(("in all ", "$quiet"), ", ".join(parts)))

    def _tell(self, sentence: str) -> None:
        self.query_one("#usage-sum", Plain).update(sentence)


def _count_tokens(row: UsageRow) -> int:
    return row.prompt_tokens + row.completion_tokens
