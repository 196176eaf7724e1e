"""The loop guard: exact cycles end an answer, whatever else repeats does not."""

from random import Random

import pytest

from core.decoding.repetition import LEAST_ROUNDS, STRIDE_TOKENS, LoopGuard, find_shortest_period


def ends_at(tokens: list[int], bound: int) -> int | None:
    """After how many tokens the guard ends the text."""
    guard = LoopGuard(bound)
    return next((end for end in range(1, len(tokens) + 1) if guard.has_looped(tokens[:end])), None)


@pytest.mark.parametrize("cycle", [[5], [1, 2], [3, 1, 4, 1, 5, 9, 2, 6]])
def test_an_exact_cycle_ends_soon_after_it_has_lasted(cycle: list[int]) -> None:
    start = list(range(100, 137))
    end = ends_at(start + cycle * 200, bound=64)
    assert end is not None
    assert len(start) + 64 <= end <= len(start) + 64 + STRIDE_TOKENS


def test_a_cycle_too_long_to_have_come_round_often_is_let_be() -> None:
    random = Random(1)
    verse = [random.randrange(1000) for _ in range(64 // LEAST_ROUNDS + 1)]
    assert ends_at(verse * 30, bound=64) is None


def test_a_list_that_counts_is_no_cycle() -> None:
    assert ends_at([part for number in range(300) for part in (1, number + 10, 2, 3)], bound=64) is None


def test_what_came_before_the_answer_does_not_count() -> None:
    guard = LoopGuard(32)
    prompt = [7] * 500
    assert not any(guard.has_looped([*prompt, *range(end)]) for end in range(1, 32))


@pytest.mark.parametrize(
    ("tokens", "period"),
    [([], 0), ([1], 1), ([1, 1, 1], 1), ([1, 2, 1, 2, 1], 2), ([1, 2, 3], 3), ([1, 1, 2, 1, 1], 3)],
)
def test_the_shortest_period_of_a_text(tokens: list[int], period: int) -> None:
    assert find_shortest_period(tokens) == period
