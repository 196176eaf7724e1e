"""What requests have used, by day, model and key: an account that is kept over restarts, and no word of any request.

Days are those of this machine's clock and time zone. Several processes may keep one account.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict

from core.kept_database import KeptDatabase, Value
from core.snapshots import UsageTotals

FILE_NAME: Final = "usage.sqlite3"
COUNTS: Final = (
    *("requests", "failures", "cancelled"),
    *("prompt_tokens", "cached_tokens", "reasoning_tokens", "completion_tokens"),
    "seconds",
)
WRITE_BYTES: Final = 600
"""What one entry holds until it is written."""
_COLUMNS: Final = ", ".join((*(f"{name} INTEGER NOT NULL" for name in COUNTS[:-1]), f"{COUNTS[-1]} REAL NOT NULL"))
_TABLE: Final = (
    f"CREATE TABLE usage (day TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL, {_COLUMNS}, "
    f"PRIMARY KEY (day, model, key)) WITHOUT ROWID"
)
VERSIONS: Final = ((_TABLE,),)
_MARKS: Final = ", ".join("?" * (3 + len(COUNTS)))
_SUMMED: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)
_ADD: Final = (
    f"INSERT INTO usage (day, model, key, {', '.join(COUNTS)}) VALUES ({_MARKS}) "  # noqa: S608 - columns of ours
    f"ON CONFLICT (day, model, key) DO UPDATE SET {_SUMMED}"
)
_SUMS: Final = ", ".join(f"SUM({name})" for name in COUNTS)


class UsageBy(Enum):
    """What an account is summed up by."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"


class UsageRow(UsageTotals, frozen=True):
    """What one day, model and key have used; or one of them, where it is summed up by that, and the others are None."""

    day: str | None = None
    """As in 2026-03-04."""
    model: str | None = None
    """Empty: a model that is not here, or may not be used."""
    key: str | None = None
    """The name of the key; empty: asked without one."""


class UsageReport(Struct, frozen=True):
    """An account as programs are told it."""

    rows: list[UsageRow]
    total: UsageTotals
    since: str | None
    """The first day; None from the beginning."""
    zone: str
    """In which the days are told: `UTC+01:00`."""
    object: str = "usage"

    @classmethod
    def of(cls, rows: list[UsageRow], since: date | None, now: datetime) -> UsageReport:
        return cls(rows, sum_usage(rows), None if since is None else since.isoformat(), name_zone(now))


class UsageAccount:
    """`add` is for any thread and never waits; the others wait for the disk."""

    def __init__(self, folder: Path) -> None:
        self._kept = KeptDatabase(folder / FILE_NAME, VERSIONS)

    @property
    def path(self) -> Path:
        return self._kept.path

    def add(self, row: UsageRow) -> None:
        """Within a second it is written, whatever the process then dies of."""
        counts = asdict(row)
        values = (row.day, row.model, row.key, *(counts[name] for name in COUNTS))
        self._kept.put(partial(_write, values), WRITE_BYTES)

    def read(self, by: UsageBy | None = None, *, since: date | None = None, key: str | None = None) -> list[UsageRow]:
        """The rows from a day on, of one key or of all, the earliest first. Those of this process that are not written
        yet are waited for. Raises sqlite3.Error, OSError."""
        self._kept.flush()
        groups = [by.value] if by is not None else [each.value for each in UsageBy]
        columns = ", ".join(groups)
        query = (
            f"SELECT {columns}, {_SUMS} FROM usage "  # noqa: S608 - columns of ours
            "WHERE day >= ? AND (? IS NULL OR key = ?) "
            f"GROUP BY {columns} ORDER BY {columns}"
        )
        found = self._kept.read(query, (since.isoformat() if since else "", key, key))
        return [_read_row(groups, values) for values in found]

    def read_tokens(self, day: date) -> dict[str, int]:
        """Tokens of prompts and answers of one day, by the names of keys. Raises as `read` does."""
        self._kept.flush()
        query = "SELECT key, SUM(prompt_tokens + completion_tokens) FROM usage WHERE day = ? GROUP BY key"
        return {str(name): int(tokens or 0) for name, tokens in self._kept.read(query, (day.isoformat(),))}

    def flush(self, seconds: float) -> bool:
        """Wait until what was added is written, for so long at most; whether it is."""
        return self._kept.flush(seconds)

    def close(self) -> None:
        """Write what waits; nothing is added any more."""
        self._kept.close()


def sum_usage(rows: Sequence[UsageTotals]) -> UsageTotals:
    return UsageTotals(**{name: sum(getattr(row, name) for row in rows) for name in COUNTS})


def parse_since(text: str, today: date) -> date:
    """`2026-03-04`, `today`, or `7d`: the last seven days, this one among them. Raises ValueError, whose words go on a
    sentence about the text."""
    if text == "today":
        return today
    if text.endswith("d") and text[:-1].isdecimal() and len(text) <= 6:
        days = int(text[:-1])
        return max(date.min + timedelta(days=days), today) - timedelta(days=max(days, 1) - 1)
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("is no day; write it as 2026-03-04, today, or 7d for the last seven days") from error


def describe_since(since: date | None) -> str:
    """Goes on a sentence."""
    return "yet" if since is None else f"since {since.isoformat()}"


def name_zone(now: datetime) -> str:
    """The time zone of the days, as in `UTC+01:00`."""
    offset = now.strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}"


def write_csv(rows: Sequence[UsageRow], by: UsageBy | None = None) -> str:
    """With a line of headings. Lines end as RFC 4180 has it."""
    groups = [by.value] if by is not None else [each.value for each in UsageBy]
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow((*groups, *COUNTS))
    writer.writerows([getattr(row, name) for name in (*groups, *COUNTS)] for row in rows)
    return out.getvalue()


def _write(values: tuple[Value, ...], database: sqlite3.Connection) -> None:
    database.execute(_ADD, values)


def _read_row(groups: Sequence[str], values: Sequence[Value]) -> UsageRow:
    named: Mapping[str, object] = dict(zip((*groups, *COUNTS), values, strict=True))
    return UsageRow(**named)  # type: ignore[arg-type]
