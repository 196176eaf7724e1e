"""Sizes in words."""

from __future__ import annotations

import pytest

from core.sizes import format_size


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_123_456, "4.1 MB"),
        (99_949_999, "99.9 MB"),
        (99_950_000, "100 MB"),
        (639_000_000, "639 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.0 GB"),
        (16 * 2**30, "17.2 GB"),
        (12.5e15, "12500 TB"),
    ],
)
def test_a_size_has_a_decimal_unit_and_no_more_digits_than_it_takes(count: float, said: str) -> None:
    assert format_size(count) == said
