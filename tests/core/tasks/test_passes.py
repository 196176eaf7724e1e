from hypothesis import given
from hypothesis import strategies as st

from core.tasks.passes import FREE_CELLS, WASTE_FACTOR, count_fitting

LENGTHS = st.lists(st.lists(st.integers(1, 512), max_size=20).map(lambda each: sorted(each, reverse=True)), max_size=6)


@given(LENGTHS, st.integers(16, 2048))
def test_a_pass_stays_within_its_budget_and_pads_little(pending: list[list[int]], budget: int) -> None:
    counts = count_fitting(pending, budget)
    taken = [length for lengths, count in zip(pending, counts, strict=True) for length in lengths[:count]]
    assert len(counts) == len(pending)
    if any(pending):
        assert taken
    if len(taken) > 1:
        cells = len(taken) * max(taken)
        assert cells <= budget
        assert cells <= max(FREE_CELLS, WASTE_FACTOR * sum(taken))


@given(LENGTHS, st.integers(16, 2048))
def test_the_first_request_that_waits_for_anything_is_always_served(pending: list[list[int]], budget: int) -> None:
    counts = count_fitting(pending, budget)
    first = next((number for number, lengths in enumerate(pending) if lengths), None)
    assert first is None or counts[first] >= 1


def test_short_texts_fill_a_pass() -> None:
    assert count_fitting([[8] * 100, [8] * 100], 512) == [64, 0]
    assert count_fitting([[300, 300], [300]], 512) == [1, 0]
    assert count_fitting([[300], [10, 10], [290]], 1024) == [1, 0, 1]
    assert count_fitting([], 512) == []


@given(LENGTHS, st.integers(16, 2048))
def test_texts_that_lie_one_behind_another_fill_a_pass_whatever_their_lengths(
    pending: list[list[int]], budget: int
) -> None:
    counts = count_fitting(pending, budget, padded=False)
    taken = sum(length for lengths, count in zip(pending, counts, strict=True) for length in lengths[:count])
    assert taken <= budget or sum(counts) == 1
    left = [lengths[count] for lengths, count in zip(pending, counts, strict=True) if count < len(lengths)]
    assert all(taken + length > budget for length in left)
