"""Writes down what each request has used, when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from core.errors import Cancelled, ModelNotAllowed, ModelNotFound
from core.serving.report import RequestReport
from core.snapshots import UsageTotals
from core.usage import UsageAccount, UsageRow, sum_usage

MOST_NAME_CHARACTERS: Final = 256


class UsageLedger:
    """An `Observer` of the workbench's requests. Belongs to its event loop."""

    def __init__(
        self, account: UsageAccount, local: Callable[[], datetime] = lambda: datetime.now().astimezone()
    ) -> None:
        """`local`: the time by which days are told."""
        self.account = account
        self._local = local
        self._day = ""
        self._today = UsageTotals()

    @property
    def today(self) -> UsageTotals:
        """Of this process, since it began or since midnight."""
        return self._today if self._day == self._local().date().isoformat() else UsageTotals()

    def note_end(self, report: RequestReport) -> None:
        row = describe_usage(report, self._local().date().isoformat())
        self._today = sum_usage((self.today, row))
        self._day = row.day or ""
        self.account.add(row)


def describe_usage(report: RequestReport, day: str) -> UsageRow:
    """A request that ended on a day. The name of a model that is not here is its client's, and so left out."""
    nowhere = isinstance(report.error, ModelNotFound | ModelNotAllowed)
    cancelled = isinstance(report.error, Cancelled)
    return UsageRow(
        day=day,
        model="" if nowhere else report.model[:MOST_NAME_CHARACTERS],
        key=report.caller.name,
        requests=1,
        failures=int(report.error is not None and not cancelled),
        cancelled=int(cancelled),
        prompt_tokens=report.usage.prompt_tokens,
        cached_tokens=report.usage.cached_tokens,
        reasoning_tokens=report.usage.reasoning_tokens,
        completion_tokens=report.usage.completion_tokens,
        seconds=report.elapsed,
    )
