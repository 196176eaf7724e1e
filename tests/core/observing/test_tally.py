"""Counting by labels, and labels that stay few and short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.observing.catalog import OTHER, QUEUE_WAIT, TOKENS
from core.observing.labels import MOST_CHARACTERS, BoundedLabels, ModelLabels, fit_label
from core.observing.tally import MOST_SERIES, Tally


@given(st.lists(st.floats(0, 1e6), max_size=50))
def test_each_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed(values: list[float]) -> None:
    tally = Tally()
    for value in values:
        tally.observe(QUEUE_WAIT, ("m",), value)
    spreads = [spread for reading in tally.read_all() for _, spread in reading.spreads]
    assert len(spreads) == bool(values)
    for spread in spreads:
        lower = (float("-inf"), *QUEUE_WAIT.bounds)
        upper = (*QUEUE_WAIT.bounds, float("inf"))
        pairs = zip(lower, upper, strict=True)
        assert spread.counts == tuple(sum(low < value <= high for value in values) for low, high in pairs)
        assert spread.total == sum(values)


def test_what_was_read_does_not_change_afterwards() -> None:
    tally = Tally()
    tally.add(TOKENS, ("m", "prompt"), 3)
    tally.observe(QUEUE_WAIT, ("m",), 0.5)
    before = [*tally.read_all()]
    tally.add(TOKENS, ("m", "prompt"), 4)
    tally.observe(QUEUE_WAIT, ("m",), 0.5)
    assert before[0].values == ((("m", "prompt"), 3),)
    assert sum(before[1].spreads[0][1].counts) == 1


def test_series_beyond_the_bound_are_counted_together() -> None:
    tally = Tally()
    for number in range(MOST_SERIES + 10):
        tally.add(TOKENS, (str(number), "prompt"))
    (reading,) = tally.read_all()
    assert len(reading.values) == MOST_SERIES + 1
    assert dict(reading.values)[OTHER, OTHER] == 10


@given(st.text(min_size=0, max_size=300))
def test_a_label_is_short_and_can_be_written(text: str) -> None:
    label = fit_label(text)
    assert len(label) <= 10 * MOST_CHARACTERS
    label.encode()
    assert len(text) > MOST_CHARACTERS or len(label) >= len(text)


def test_names_of_a_megabyte_are_cut_and_stay_apart() -> None:
    one, other = fit_label("a" * 1_000_000 + "1"), fit_label("a" * 1_000_000 + "2")
    assert len(one) == len(other) == MOST_CHARACTERS
    assert one != other


def test_only_models_that_are_served_have_a_label() -> None:
    served = {"qwen": "Qwen", "Qwen": "Qwen"}
    labels = ModelLabels(served.get)
    assert [labels.find_label(name) for name in ("qwen", "Qwen", "invented", "x" * 1_000_000)] == [
        *("Qwen", "Qwen"),
        *(OTHER, OTHER),
    ]


def test_a_model_keeps_its_label_when_it_is_served_no_more() -> None:
    served = {"qwen": "Qwen"}
    labels = ModelLabels(served.get)
    labels.find_label("qwen")
    served.clear()
    assert labels.find_label("qwen") == "Qwen"


def test_values_beyond_the_bound_share_a_label() -> None:
    labels = BoundedLabels(2)
    assert [labels.find_label(value) for value in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
