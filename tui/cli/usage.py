"""`tui usage`: what requests have used, by day, model and API key. No model is loaded for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from rich import box
from rich.table import Table

from core.errors import BenchtopError, UsageError
from core.settings.load import load_settings
from core.settings.schema import find_folders
from core.snapshots import UsageTotals
from core.usage import UsageAccount, UsageBy, UsageReport, UsageRow, describe_since, parse_since, write_csv
from tui.cli.arguments import Arguments, Misunderstood
from tui.cli.console import Paper
from tui.cli.output import write_json, write_text
from tui.usage_words import COUNT_WRITERS, name_group

CHIEF: Final = ("requests", "in", "cached", "out", "time")
"""Headings that there is room for beside all groups."""


def run_usage(given: Arguments) -> int:
    """Print the account on stdout. Raises Misunderstood, UsageError, BenchtopError where the account cannot be read."""
    if given.json and given.csv:
        raise Misunderstood("--json and --csv are two forms of the same; give one of them.")
    now = datetime.now().astimezone()
    by = UsageBy(given.by) if given.by else None
    since = _read_since(given.since, now.date())
    account = UsageAccount(find_folders().state)
    try:
        rows = account.read(by, since=since)
    except (sqlite3.Error, OSError) as error:
        raise BenchtopError(f"The account {account.path} cannot be read: {error}.") from error
    report = UsageReport.of(rows, since, now)
    if given.json:
        write_json(report)
    elif given.csv:
        # Its line ends are for the wire; a terminal and a file have their own.
        write_text("\n".join(write_csv(rows, by).splitlines()))
    elif rows:
        Paper().print(build_usage_table(rows, report.total, by))
        write_text(f"Days are those of this machine, {report.zone}; kept in {account.path}.")
    else:
        kept = load_settings(config_file=given.config).usage.enabled
        told = "Nothing was used" if kept else "No account is kept (usage.enabled is false), and nothing was used"
        write_text(f"{told} {describe_since(since)}; an account would stand in {account.path}.")
    return 0


def _read_since(text: str | None, today: date) -> date | None:
    try:
        return None if text is None else parse_since(text, today)
    except ValueError as error:
        raise UsageError(f"--since {text!r} {error}.") from error


def build_usage_table(rows: Sequence[UsageRow], total: UsageTotals, by: UsageBy | None = None) -> Table:
    """The rows, and below them their sum. Beside all three groups there is room for the chief counts alone."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    groups = tuple(UsageBy) if by is None else (by,)
    for number, group in enumerate(groups):
        table.add_column(group.value, "total" if number == 0 else "", overflow="fold")
    headings = CHIEF if by is None else tuple(COUNT_WRITERS)
    for heading in headings:
        table.add_column(heading, COUNT_WRITERS[heading](total), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(name_group(row, group) for group in groups), *(COUNT_WRITERS[name](row) for name in headings))
    return table
