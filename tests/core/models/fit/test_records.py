"""What earlier loads teach the next estimate."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.hardware import describe_machine
from core.models.fit.parts import Parts
from core.models.fit.records import (
    ENOUGH_LOADS,
    KEPT_LOADS,
    MOST_FACTOR,
    FitRecord,
    FitRecords,
    correct_parts,
    derive_correction,
)

PARTS = Parts(
    weights=1 << 30,
    copies=0,
    kv=1 << 28,
    compute=40 << 20,
    filling=20 << 20,
    output=38 << 20,
    vocabulary=22 << 20,
    overhead=6 << 20,
)
UNCOUNTED = PARTS.compute + PARTS.vocabulary + PARTS.overhead


def record(measured: int, engine: str = "llamacpp", here: str | None = None) -> FitRecord:
    return FitRecord(here or describe_machine().fingerprint, engine, "llama", "Q4_K_M", PARTS, measured)


def times(factor: float) -> FitRecord:
    """A load in which the uncounted part took `factor` times what was estimated."""
    return record(round(PARTS.loaded + UNCOUNTED * (factor - 1)))


factors = st.floats(1 / MOST_FACTOR + 0.01, MOST_FACTOR - 0.01)


@given(factors, st.integers(ENOUGH_LOADS, 20))
def test_loads_that_agree_are_believed(factor: float, count: int) -> None:
    parts = derive_correction([times(factor)] * count)(PARTS)
    assert parts.loaded == pytest.approx(times(factor).measured, abs=8)


@given(st.lists(factors, max_size=ENOUGH_LOADS - 1))
def test_too_few_loads_change_nothing(few: list[float]) -> None:
    assert derive_correction([times(factor) for factor in few])(PARTS) == PARTS


@given(factors, st.lists(st.one_of(st.integers(0, 1 << 40).map(record), factors.map(times)), max_size=4))
def test_a_few_wild_loads_do_not_outvote_many(factor: float, wild: list[FitRecord]) -> None:
    parts = derive_correction([*wild, *[times(factor)] * 9])(PARTS)
    assert parts.loaded == pytest.approx(times(factor).measured, abs=8)


@given(st.lists(st.integers(0, 1 << 40), max_size=30))
def test_no_record_makes_an_estimate_absurd(measured: list[int]) -> None:
    parts = derive_correction([record(each) for each in measured])(PARTS)
    least, most = correct_parts(PARTS, 1 / MOST_FACTOR), correct_parts(PARTS, MOST_FACTOR)
    assert least.needed <= parts.needed <= most.needed


@given(factors)
def test_what_is_counted_exactly_stays(factor: float) -> None:
    parts = correct_parts(PARTS, factor)
    assert replace(parts, compute=0, vocabulary=0, overhead=0) == replace(PARTS, compute=0, vocabulary=0, overhead=0)


def test_the_error_is_a_share_of_what_was_measured() -> None:
    assert record(PARTS.loaded).error == 0
    assert record(PARTS.loaded * 2).error == -0.5


def test_records_are_kept_and_the_oldest_forgotten(tmp_path: Path) -> None:
    records = FitRecords(tmp_path / "state" / "fit.jsonl")
    assert records.all() == []
    for number in range(KEPT_LOADS + 5):
        records.add(record(number))
    assert [each.measured for each in records.all()] == list(range(5, KEPT_LOADS + 5))


def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "fit.jsonl"
    records = FitRecords(path)
    records.add(record(1))
    path.write_bytes(b"damaged\n" + path.read_bytes() + b'{"measured": -1}\n')
    assert records.all() == [record(1)]


def test_only_this_machine_and_engine_count(tmp_path: Path) -> None:
    records = FitRecords(tmp_path / "fit.jsonl")
    measured = times(2.0).measured
    for _ in range(ENOUGH_LOADS):
        records.add(record(measured, engine="mlx"))
        records.add(record(measured, here="another machine"))
    assert records.correction("llamacpp")(PARTS) == PARTS
    assert records.correction("mlx")(PARTS).loaded == pytest.approx(measured, abs=8)
