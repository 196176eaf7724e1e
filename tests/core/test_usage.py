"""An account of what requests have used."""

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.snapshots import UsageTotals
from core.usage import UsageAccount, UsageBy, UsageRow, name_zone, parse_since, sum_usage, write_csv

TODAY = date(2026, 3, 4)
YESTERDAY = TODAY - timedelta(days=1)


def use(day: date = TODAY, model: str = "guide", key: str = "", **counts: float) -> UsageRow:
    return UsageRow(day=day.isoformat(), model=model, key=key, **({"requests": 1} | counts))  # type: ignore[arg-type]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[UsageAccount]:
    made = UsageAccount(tmp_path)
    yield made
    made.close()


def test_requests_of_one_day_model_and_key_are_one_row(account: UsageAccount) -> None:
    counts = {"prompt_tokens": 5, "cached_tokens": 3, "completion_tokens": 7, "reasoning_tokens": 2, "seconds": 0.5}
    account.add(use(TODAY, "guide", "", **counts))
    account.add(use(TODAY, "guide", "", **counts, failures=1))
    account.add(use(key="alice", cancelled=1))
    assert account.read() == [
        UsageRow(2, 1, 0, 10, 6, 4, 14, 1.0, "2026-03-04", "guide", ""),
        UsageRow(1, 0, 1, day="2026-03-04", model="guide", key="alice"),
    ]


def test_an_account_is_summed_up_by_day_model_or_key(account: UsageAccount) -> None:
    account.add(use(YESTERDAY, "a", "alice", prompt_tokens=1))
    account.add(use(TODAY, "a", "bob", prompt_tokens=10))
    account.add(use(TODAY, "b", "alice", prompt_tokens=100))

    def told(by: UsageBy, **narrowed: object) -> list[tuple[str | None, int]]:
        rows = account.read(by, **narrowed)  # type: ignore[arg-type]
        return [(getattr(row, by.value), row.prompt_tokens) for row in rows]

    assert told(UsageBy.DAY) == [("2026-03-03", 1), ("2026-03-04", 110)]
    assert told(UsageBy.MODEL) == [("a", 11), ("b", 100)]
    assert told(UsageBy.KEY) == [("alice", 101), ("bob", 10)]
    assert told(UsageBy.MODEL, since=TODAY) == [("a", 10), ("b", 100)]
    assert told(UsageBy.DAY, key="alice") == [("2026-03-03", 1), ("2026-03-04", 100)]
    assert told(UsageBy.DAY, key="nobody") == []
    assert account.read_tokens(TODAY) == {"alice": 100, "bob": 10}


def test_two_processes_keep_one_account_and_lose_nothing(account: UsageAccount) -> None:
    other = UsageAccount(account.path.parent)
    for _ in range(50):
        account.add(use(seconds=1.0))
        other.add(use(seconds=1.0))
    other.close()
    assert account.read() == [use(requests=100, seconds=100.0)]


def test_an_account_outlives_who_kept_it(account: UsageAccount) -> None:
    account.add(use())
    account.close()
    again = UsageAccount(account.path.parent)
    assert again.read() == [use()]


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    account = UsageAccount(tmp_path / "nothing")
    assert account.read() == []
    assert account.read_tokens(TODAY) == {}
    assert not account.path.exists()


rows = st.builds(UsageTotals, st.integers(0, 9), st.integers(0, 9), prompt_tokens=st.integers(0, 10**12))


@given(st.lists(rows, max_size=20))
def test_a_sum_is_that_of_its_parts(parts: list[UsageTotals]) -> None:
    half = len(parts) // 2
    assert sum_usage(parts) == sum_usage((sum_usage(parts[:half]), sum_usage(parts[half:])))


def test_csv_has_headings_and_a_name_with_commas_is_one_field() -> None:
    text = write_csv([use(model='a,"b"', prompt_tokens=3)])
    (heading, row) = csv.reader(text.splitlines())
    assert heading[:4] == ["day", "model", "key", "requests"]
    assert dict(zip(heading, row, strict=True))["model"] == 'a,"b"'
    assert write_csv([], UsageBy.KEY).splitlines()[0].startswith("key,requests,")


@pytest.mark.parametrize(
    ("text", "first"),
    [("2026-01-31", date(2026, 1, 31)), ("today", TODAY), ("1d", TODAY), ("7d", date(2026, 2, 26)), ("0d", TODAY)],
)
def test_a_first_day_is_a_date_or_so_many_days(text: str, first: date) -> None:
    assert parse_since(text, TODAY) == first


@pytest.mark.parametrize("text", ["yesterday", "d", "-3d", "2026-13-01", "", "9999999999d", "7 d"])
def test_what_is_no_day_is_told_as_that(text: str) -> None:
    with pytest.raises(ValueError, match="is no day"):
        parse_since(text, TODAY)


def test_the_zone_of_the_days_is_told() -> None:
    assert name_zone(datetime(2026, 1, 1, tzinfo=UTC)) == "UTC+00:00"
    assert name_zone(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30)))) == "UTC-09:30"
