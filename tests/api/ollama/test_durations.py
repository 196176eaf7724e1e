"""How long a model stays, in all the ways that clients write it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ollama.durations import count_nanoseconds, read_keep_alive
from core.errors import RequestError


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("", None),
        (0, 0.0),
        (300, 300.0),
        (1.5, 1.5),
        (-1, math.inf),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        (" 24h ", 86_400.0),
        ("300", 300.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("-1", math.inf),
        ("-1m", math.inf),
    ],
)
def test_numbers_are_seconds_texts_are_durations_and_less_than_nothing_is_for_ever(
    said: float | str | None, seconds: float | None
) -> None:
    assert read_keep_alive(said) == seconds


@pytest.mark.parametrize("said", [" ", "soon", "5 m", "5m!", "m", "1e9", "5d", "1" * 300, "1s" * 200])
def test_what_is_no_time_is_refused_by_name(said: str) -> None:
    with pytest.raises(RequestError, match="keep_alive"):
        read_keep_alive(said)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(said: str) -> None:
    try:
        seconds = read_keep_alive(said)
    except RequestError:
        return
    assert seconds is None if said == "" else seconds is not None and seconds >= 0


def test_nanoseconds_are_whole_and_never_negative() -> None:
    assert count_nanoseconds(1.5) == 1_500_000_000
    assert count_nanoseconds(-0.1) == 0
