"""Guessing: whether at all, how many, and what is told of it."""

import time
from collections.abc import Sequence

from core.decoding.balance import FIRST_PLAIN_STEPS
from core.decoding.speculate import (
    FIRM_TOKENS,
    MOST_GUESSES,
    SEARCH_SHARE,
    GuessOutcome,
    GuessWish,
    Speculation,
)
from core.snapshots import PositionStats
from tests.fakes.guessing import GuessingStub


class Sevens(GuessingStub):
    """Guesses sevens, by runs as long as it is told."""

    name = "sevens"

    def __init__(self, run: int = 64) -> None:
        self.run = run
        self.forgotten: list[GuessWish] = []

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        return [self.run] * len(wishes)

    def forget(self, wish: GuessWish) -> None:
        self.forgotten.append(wish)


def warm(proposer: Sevens | None = None, rows: int = 64) -> Speculation:
    speculation = Speculation(proposer or Sevens(), rows)
    for _ in range(FIRST_PLAIN_STEPS):
        assert speculation.guesses([GuessWish("a", [1], 9)]) == [[]]
        speculation.learn([GuessOutcome("a", 0, 0)], 1.0)
    return speculation


def run_steps(speculation: Speculation, steps: int, *, right: bool, cost: float = 0.1, most: int = 99) -> list[int]:
    """Guesses made in each step, of which all come true or none; each costs so much of a plain step beyond that."""
    made = []
    for _ in range(steps):
        (guesses,) = speculation.guesses([GuessWish("a", [1], most)])
        made.append(len(guesses))
        speculation.learn([GuessOutcome("a", len(guesses), len(guesses) if right else 0)], 1.0 + cost * len(guesses))
    return made


def test_guesses_double_while_they_come_true_up_to_the_most() -> None:
    assert run_steps(warm(), 7, right=True) == [1, 3, 7, 15, 31, MOST_GUESSES, MOST_GUESSES]


def test_there_are_as_many_as_pay_where_wide_passes_are_dear() -> None:
    assert set(run_steps(warm(Sevens(10)), 30, right=True, cost=1.0)[5:]) == {0}


def test_no_more_is_guessed_than_there_is_room_for() -> None:
    assert max(run_steps(warm(), 9, right=True, most=2)) == 2
    assert run_steps(warm(), 1, right=True, most=0) == [0]
    assert max(run_steps(warm(rows=4), 9, right=True)) == 3


def test_no_more_is_guessed_than_the_run_is_long() -> None:
    assert max(run_steps(warm(Sevens(5)), 9, right=True)) <= 5


def test_guesses_that_never_come_true_soon_cost_next_to_nothing() -> None:
    speculation = warm()
    run_steps(speculation, 50, right=False)
    assert sum(run_steps(speculation, 200, right=False)) <= 30
    assert speculation.stats.seconds_lost < 10


def test_a_copy_is_guessed_while_others_rest() -> None:
    proposer = Sevens(3)
    speculation = warm(proposer)
    speculation._balance(1).guessed(9.0, 0)
    proposer.run = FIRM_TOKENS - 1
    assert run_steps(speculation, 1, right=True) == [0]
    proposer.run = 64
    assert run_steps(speculation, 1, right=True) != [0]


def test_what_was_guessed_and_kept_is_counted_by_position_too() -> None:
    speculation = warm()
    speculation.guesses([GuessWish("a", [1], 3)])
    speculation.learn([GuessOutcome("a", 3, 2), GuessOutcome("b", 1, 1)], 1.0)
    speculation.learn([GuessOutcome("a", 2, 0)], 1.0)
    stats = speculation.stats
    assert (stats.by, stats.guessed, stats.kept) == ("sevens", 6, 3)
    assert stats.positions == (PositionStats(3, 2), PositionStats(2, 1), PositionStats(1, 0))


def test_what_guesses_lost_and_gained_is_told_in_seconds() -> None:
    speculation = warm()
    speculation.guesses([GuessWish("a", [1], 3)])
    speculation.learn([GuessOutcome("a", 3, 3)], 1.5)
    speculation.guesses([GuessWish("a", [1], 3)])
    speculation.learn([GuessOutcome("a", 3, 0)], 1.75)
    assert abs(speculation.stats.seconds_gained - 2.5) < 0.1
    assert abs(speculation.stats.seconds_lost - 0.75) < 0.1


class Slow(Sevens):
    """Takes long to look, and finds nothing."""

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        self.looked += 1
        time.sleep(0.002)
        return [0] * len(wishes)

    looked = 0


def test_where_looking_takes_as_long_as_a_step_it_soon_is_done_seldom() -> None:
    proposer = Slow()
    speculation = Speculation(proposer)
    for _ in range(100):
        assert speculation.guesses([GuessWish("a", [1], 9)]) == [[]]
        speculation.learn([GuessOutcome("a", 0, 0)], 0.001)
    assert proposer.looked < 5


def test_a_look_that_took_long_is_followed_by_steps_without_one_that_pay_for_it() -> None:
    proposer = Sevens()
    speculation = warm(proposer)
    speculation._balance(1).guessed(9.0, 0)
    speculation._search_debt = 3.5 * SEARCH_SHARE
    assert [bool(count) for count in run_steps(speculation, 5, right=True)] == [False] * 4 + [True]


class Reading(Sevens):
    """Takes long over a prompt, and says so."""

    reading = True

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        found = super().weigh(wishes)
        if self.reading:
            time.sleep(0.02)
        return found


def test_reading_a_prompt_is_no_reason_to_look_less_often_whether_a_text_is_copied() -> None:
    proposer = Reading(0)
    speculation = warm(proposer)
    speculation._balance(1).guessed(9.0, 0)
    assert run_steps(speculation, 1, right=True) == [0]
    proposer.run, proposer.reading = 64, False
    assert run_steps(speculation, 1, right=True) != [0]


def test_a_step_that_took_longer_than_its_tokens_one_by_one_is_a_loss_all_the_same() -> None:
    speculation = warm()
    speculation.guesses([GuessWish("a", [1], 1)])
    speculation.learn([GuessOutcome("a", 1, 1)], 3.0)
    assert abs(speculation.stats.seconds_lost - 1.0) < 0.1
    assert speculation.stats.seconds_gained == 0


def test_a_shutdown_forgets_all_sequences() -> None:
    proposer = Sevens()
    speculation = warm(proposer)
    run_steps(speculation, 1, right=True)
    speculation.shutdown()
    speculation.forget("a")
    assert proposer.forgotten == []


def test_a_sequence_is_forgotten_once_with_all_that_it_came_to_be() -> None:
    proposer = Sevens()
    speculation = warm(proposer)
    for _ in range(2):
        speculation.forget("a")
    speculation.forget("never seen")
    assert [wish.key for wish in proposer.forgotten] == ["a"]


def test_slow_drafting_counts_against_guesses() -> None:
    speculation = warm()
    for _ in range(3):
        speculation.guesses([GuessWish("a", [1], 9)])
        speculation.learn([GuessOutcome("a", 1, 0)], 2.0)
    assert speculation._balance(1).rests
