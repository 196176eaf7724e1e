"""What earlier loads teach the next estimate."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract.options import KvType
from core.contract.placement import HOST
from core.hardware import describe_machine
from core.models.fit.parts import Parts
from core.models.fit.plan_words import describe_load
from core.models.fit.records import (
    ENOUGH_LOADS,
    KEPT_LOADS,
    MOST_FACTOR,
    DeviceFit,
    FitRecord,
    FitRecords,
    LoadedModelTraits,
    correct_parts,
    derive_correction,
    describe_traits,
)
from tests.fakes.shaped_headers import HALF, SEVEN, make_header

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


MODEL = LoadedModelTraits("a model", "llama", "Q4_K_M", 1 << 30)


def record(
    measured: int, engine: str = "llamacpp", here: str | None = None, model: LoadedModelTraits = MODEL
) -> FitRecord:
    fits = (DeviceFit(HOST, PARTS, measured),)
    return FitRecord(here or describe_machine().fingerprint, engine, model, 2048, KvType.F16, fits)


def read_measured(each: FitRecord) -> int:
    assert each.host is not None
    return each.host.measured


def times(factor: float) -> FitRecord:
    """A load in which the uncounted part took `factor` times what was estimated."""
    return record(round(PARTS.loaded + UNCOUNTED * (factor - 1)))


factors = st.floats(1 / MOST_FACTOR + 0.01, MOST_FACTOR - 0.01)


@given(factors, st.integers(ENOUGH_LOADS, 20))
def test_loads_that_agree_are_believed(factor: float, count: int) -> None:
    parts = derive_correction([times(factor)] * count)(PARTS)
    assert parts.loaded == pytest.approx(read_measured(times(factor)), abs=8)


@given(st.lists(factors, max_size=ENOUGH_LOADS - 1))
def test_too_few_loads_change_nothing(few: list[float]) -> None:
    assert derive_correction([times(factor) for factor in few])(PARTS) == PARTS


@given(factors, st.lists(st.one_of(st.integers(0, 1 << 40).map(record), factors.map(times)), max_size=4))
def test_a_few_wild_loads_do_not_outvote_many(factor: float, wild: list[FitRecord]) -> None:
    parts = derive_correction([*wild, *[times(factor)] * 9])(PARTS)
    assert parts.loaded == pytest.approx(read_measured(times(factor)), abs=8)


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
    assert DeviceFit(HOST, PARTS, PARTS.loaded).error == 0
    assert DeviceFit(HOST, PARTS, PARTS.loaded * 2).error == -0.5
    assert DeviceFit("CUDA0", PARTS, PARTS.needed).error == 0


def test_records_are_kept_and_the_oldest_forgotten(tmp_path: Path) -> None:
    records = FitRecords(tmp_path / "state" / "fit.jsonl")
    assert records.all() == []
    for number in range(KEPT_LOADS + 5):
        records.add(record(number))
    assert [read_measured(each) for each in records.all()] == list(range(5, KEPT_LOADS + 5))
    # The same once more is the same record.
    records.add(record(7))
    assert [read_measured(each) for each in records.all()] == [5, 6, *range(8, KEPT_LOADS + 5), 7]


def test_a_line_that_is_damaged_or_of_another_version_is_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fit.jsonl"
    records = FitRecords(path)
    records.add(record(1))
    path.write_bytes(b"damaged\n" + path.read_bytes() + b'{"machine": "m", "engine": "e", "measured": 1}\n')
    with caplog.at_level("INFO"):
        assert records.all() == records.all() == [record(1)]
    (told,) = caplog.records
    assert told.message == "lines of another version, or damaged ones, are passed over"


@given(factors)
def test_what_a_model_itself_took_here_corrects_its_estimate_at_once(factor: float) -> None:
    others = [replace(times(1.0), model=replace(MODEL, name="another"))] * ENOUGH_LOADS
    parts = derive_correction([*others, times(factor)], MODEL)(PARTS)
    assert parts.loaded == pytest.approx(max(read_measured(times(factor)), PARTS.loaded - PARTS.overhead), abs=8)
    assert replace(parts, overhead=0) == replace(PARTS, overhead=0)


def test_the_last_load_of_a_model_on_this_machine_is_found(tmp_path: Path) -> None:
    records, header = FitRecords(tmp_path / "fit.jsonl"), make_header(HALF)
    mine = record(2, model=describe_traits(header))
    for each in (record(1, model=describe_traits(header)), mine, record(3), replace(mine, machine="another")):
        records.add(each)
    assert records.find(header) == mine
    assert records.find(make_header(SEVEN)) is None


def test_a_load_is_told_beside_its_estimate_of_each_device() -> None:
    card = DeviceFit("CUDA0", replace(PARTS, filling=0), 2 << 30)
    assert describe_load(replace(record(1 << 30), devices=(*record(1 << 30).devices, card))) == (
        "Loaded here last with 2,048 tokens of KV f16, it took 1.1 GB of main memory (1.5 GB estimated) and 2.1 GB of "
        "CUDA0 (1.5 GB estimated)."
    )


def test_only_this_machine_and_engine_count(tmp_path: Path) -> None:
    records = FitRecords(tmp_path / "fit.jsonl")
    measured = read_measured(times(2.0))
    for number in range(ENOUGH_LOADS):
        records.add(replace(record(measured, engine="mlx"), context=number))
        records.add(replace(record(measured, here="another machine"), context=number))
    assert records.correction("llamacpp")(PARTS) == PARTS
    assert records.correction("mlx")(PARTS).loaded == pytest.approx(measured, abs=8)
