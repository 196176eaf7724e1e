"""Sizes are read exactly, or refused in a sentence, and written alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sizes import POWERS, format_size, parse_size

WHOLE = 64 * 1024**3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12GB", 12 * 1000**3),
        ("8GiB", 8 * 1024**3),
        ("512M", 512 * 1024**2),
        ("1.5 g", 3 * 512 * 1024**2),
        (" 7kb ", 7000),
        ("4096", 4096),
        ("4096B", 4096),
        ("60%", WHOLE * 60 // 100),
        ("100 %", WHOLE),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text, WHOLE) == size


@pytest.mark.parametrize("text", ["", "GB", "12XB", "-1GB", "1e9", "12iB", "0x10", "1,5GB", "%", "nan", "9" * 99])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size; write it as 12GB, 8GiB, 512M or 60%\."):
        parse_size(text, WHOLE)


@pytest.mark.parametrize("text", ["0", "0GB", "0%", "0.5", "0.0001B"])
def test_less_than_a_byte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is less than a byte"):
        parse_size(text, WHOLE)


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="give 100% at most"):
        parse_size("100.1%", WHOLE)


@given(st.integers(1, 10**12), st.sampled_from(sorted(POWERS)), st.booleans(), st.booleans())
def test_every_whole_number_of_a_unit_is_exact(count: int, unit: str, binary: bool, upper: bool) -> None:
    text = f"{count}{unit}{'ib' if binary and unit else 'b'}"
    size = count * (1024 if binary and unit else 1000) ** POWERS[unit]
    assert parse_size(text.upper() if upper else text, WHOLE) == size


@given(st.integers(1, 100), st.integers(100, 10**15))
def test_a_share_is_never_more_than_the_whole(percent: int, whole: int) -> None:
    assert parse_size(f"{percent}%", whole) == whole * percent // 100


@given(st.text(max_size=20))
def test_any_text_is_a_positive_size_or_a_sentence(text: str) -> None:
    try:
        assert parse_size(text, WHOLE) >= 1
    except ValueError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either outcome is right


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
