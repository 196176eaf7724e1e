"""When something is tried again, and when not."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from core.retry import Patience, Stopped, Transient, Tries, repeat_attempt, retry_after


class Counting(threading.Event):
    """Writes down how long it was asked to wait, and waits not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def test_pauses_double_up_to_the_longest() -> None:
    patience = Patience(first=1.0, longest=60.0)
    for failures, seconds in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)]:
        assert 0.75 * seconds <= patience.pause(failures) <= 1.25 * seconds


def test_what_the_server_asks_to_wait_is_waited_within_reason() -> None:
    assert Patience().pause(1, 7.0) == 7.0
    assert Patience().pause(1, 86_400.0) == 300.0


def test_patience_ends_after_failures_in_a_row() -> None:
    stop, calls = Counting(), []

    def attempt() -> None:
        calls.append(1)
        raise Transient("It failed.")

    with pytest.raises(Transient):
        repeat_attempt(attempt, Patience(attempts=4), stop.wait, lambda: 0, lambda *_: None)
    assert len(calls) == 4
    assert len(stop.waits) == 3


def test_progress_begins_a_new_row() -> None:
    stop, calls, told = Counting(), [0], list[tuple[str, float]]()

    def attempt() -> None:
        calls[0] += 1
        if calls[0] < 20:
            raise Transient("It failed.")

    repeat_attempt(attempt, Patience(attempts=2), stop.wait, lambda: calls[0], lambda *said: told.append(said))
    assert calls == [20]
    assert all(wait <= 1.25 for wait in stop.waits)
    assert told == [("It failed.", wait) for wait in stop.waits]


def test_a_pause_ends_when_it_is_stopped() -> None:
    stop = threading.Event()

    def attempt() -> None:
        stop.set()
        raise Transient("It failed.")

    with pytest.raises(Stopped):
        repeat_attempt(attempt, Patience(first=3600.0, longest=3600.0), stop.wait, lambda: 0, lambda *_: None)


def test_no_try_begins_after_the_seconds_that_there_are_in_all() -> None:
    tries = Tries(Patience(first=0.0, attempts=100, total=30.0))
    assert tries.fail() == 0.0
    assert tries.fail(20.0) == 20.0
    assert tries.fail(3600.0) is None


@pytest.mark.parametrize(
    ("told", "seconds"), [("7", 7.0), (" 0 ", 0.0), ("9" * 40, 999_999_999.0), ("", None), ("soon", None), ("-5", None)]
)
def test_a_server_asks_to_wait_in_seconds(told: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": told}) == seconds


def test_a_server_asks_to_wait_until_a_date() -> None:
    date = datetime.now(UTC) + timedelta(hours=1)
    wait = retry_after({"retry-after": format_datetime(date, usegmt=True)})
    assert wait is not None
    assert 3500 < wait <= 3600
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({}) is None
