"""How many guesses pay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.decoding.guess_plan import STALE_STEPS, WIDTHS, Odds, PassCosts, choose_counts

FREE = [(width, 1.0) for width in WIDTHS]
DEAR = [(width, float(width)) for width in WIDTHS]


def seen(run: int, kept: int, *, times: int = 100) -> Odds:
    """Odds of a proposer whose first `kept` guesses behind such a run come true, and no further one."""
    odds = Odds()
    for _ in range(times):
        odds.learn(run, kept + 1, kept)
    return odds


def test_guesses_behind_long_runs_are_expected_to_come_true_sooner_than_behind_short_ones() -> None:
    odds = Odds()
    chances = [odds.chance(run) for run in (3, 6, 12, 40)]
    assert chances == sorted(chances)
    assert 0 < chances[0] < chances[-1] < 1


def test_what_came_true_counts_more_than_what_was_expected() -> None:
    assert seen(3, 0).chance(3) < 0.2
    assert seen(3, 5).chance(3) > 0.9


def test_what_ceased_to_come_true_is_forgotten() -> None:
    odds = seen(3, 3)
    for _ in range(60):
        odds.learn(3, 1, 0)
    assert odds.chance(3) < 0.25


def test_a_guess_tells_of_the_run_that_those_before_it_made_longer() -> None:
    odds = seen(3, 2)
    assert odds.chance(4) > 0.9
    assert odds.chance(5) < 0.2
    assert odds.chance(6) == Odds().chance(6)


def test_chances_of_more_guesses_multiply() -> None:
    odds = Odds()
    first, both = odds.chances(5, 2)
    assert first == odds.chance(5)
    assert both == pytest.approx(first * odds.chance(6))


def test_where_a_pass_costs_the_same_however_wide_all_is_guessed() -> None:
    assert choose_counts([20], [9], Odds(), FREE) == [9]


def test_where_a_pass_costs_as_much_as_its_tokens_nothing_is_guessed() -> None:
    assert choose_counts([20], [9], Odds(), DEAR) == [0]


def test_what_drafting_costs_counts() -> None:
    assert choose_counts([20], [9], Odds(), FREE, drafting=[1.0]) == [0]


def test_there_is_nothing_to_go_by_without_a_run() -> None:
    assert choose_counts([0], [9], Odds(), FREE) == [0]


def test_the_likelier_sequence_is_guessed_for_first() -> None:
    narrow = [(3, 1.0), (4, 1.0)]
    assert choose_counts([30, 3], [9, 9], Odds(), narrow) == [2, 0]


def test_no_guess_is_made_whose_gain_is_less_than_wanted() -> None:
    widths = [(2, 1.0)]
    assert choose_counts([3], [1], Odds(), widths, least_gain=1.5) == [1]
    assert choose_counts([3], [1], Odds(), widths, least_gain=1.9) == [0]


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 31)), min_size=1, max_size=6),
    st.floats(0.0, 0.5),
    st.integers(2, 64),
)
def test_there_are_never_more_guesses_than_may_be_made_and_passes_may_hold(
    asked: list[tuple[int, int]], slope: float, top: int
) -> None:
    runs, most = [run for run, _ in asked], [count for _, count in asked]
    costs = PassCosts(len(asked))
    counts = choose_counts(runs, most, Odds(), costs.list_widths(top))
    assert all(0 <= count <= bound for count, bound in zip(counts, most, strict=True))
    assert not sum(counts) or len(asked) + sum(counts) <= top


def test_a_wider_pass_is_tried_in_steps_and_taken_for_cheap_until_it_was() -> None:
    costs = PassCosts(1)
    assert costs.list_widths(64) == [(2, 1.0)]
    costs.learn(2, 1.4)
    assert costs.list_widths(64) == [(2, 1.4), (3, 1.4), (4, 1.4)]
    costs.learn(4, 2.0)
    assert costs.list_widths(6) == [(2, 1.4), (3, pytest.approx(1.7)), (4, 2.0), (6, 2.0)]


def test_what_a_width_cost_long_ago_is_not_believed() -> None:
    costs = PassCosts(1)
    costs.learn(4, 3.0)
    assert costs.list_widths(4)[-1] == (4, 3.0)
    for _ in range(STALE_STEPS):
        costs.list_widths(64)
    costs.learn(2, 1.4)
    assert costs.list_widths(4)[-1] == (4, 1.4)


def test_a_disturbance_makes_no_width_dear() -> None:
    costs = PassCosts(1)
    costs.learn(2, 9.0)
    assert costs.list_widths(2) == [(2, 2.0)]
    costs.learn(2, 1.4)
    costs.learn(2, 5.0)
    assert costs.list_widths(2) == [(2, 1.4)]
