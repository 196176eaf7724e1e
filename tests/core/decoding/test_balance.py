"""Whether guesses pay: what they may lose, and when they rest."""

from hypothesis import given
from hypothesis import strategies as st

from core.decoding.balance import (
    CREDIT_STEPS,
    FIRST_PLAIN_STEPS,
    LOSS_SHARE,
    OVERDRAFT_STEPS,
    RECENT_STEPS,
    STEPS_BETWEEN_PLAIN,
    SURE_GAIN_FACTOR,
    Balance,
)


def known(seconds: float = 1.0) -> Balance:
    """Of a model of which a plain step takes so long."""
    balance = Balance(1)
    for _ in range(FIRST_PLAIN_STEPS):
        balance.plain(seconds)
    return balance


def test_a_few_plain_steps_come_before_the_first_guesses() -> None:
    balance = Balance(1)
    for _ in range(FIRST_PLAIN_STEPS):
        assert not balance.guesses
        balance.plain(1.0)
    assert balance.guesses


def test_guesses_that_pay_go_on_but_for_a_plain_step_now_and_then() -> None:
    balance = known()
    plain = 0
    for step in range(10 * STEPS_BETWEEN_PLAIN):
        if balance.guesses:
            # A step twice as long for three tokens, then one that was in vain.
            balance.guessed(*((2.0, 2) if step % 2 else (1.5, 0)))
        else:
            plain += 1
            balance.plain(1.0)
    assert plain == 10 * STEPS_BETWEEN_PLAIN // (STEPS_BETWEEN_PLAIN + 1)


def test_guesses_that_do_not_pay_rest_soon() -> None:
    balance = known()
    balance.guessed(1.9, 0)
    assert not balance.rests
    balance.guessed(1.9, 0)
    assert balance.rests


@given(st.floats(1.01, 20.0), st.lists(st.floats(0.5, 20.0), min_size=FIRST_PLAIN_STEPS, max_size=FIRST_PLAIN_STEPS))
def test_guesses_that_never_pay_cost_no_more_than_they_may_however_the_start_was_disturbed(
    factor: float, start: list[float]
) -> None:
    balance = Balance(1)
    for seconds in start:
        balance.plain(seconds)
    lost, steps = 0.0, 20_000
    for _ in range(steps):
        if balance.guesses and not balance.rests:
            balance.guessed(factor, 0)
            lost += factor - 1.0
        else:
            balance.plain(1.0)
    # Until a wrong start is corrected, guesses may go on for some rounds of STEPS_BETWEEN_PLAIN.
    early = RECENT_STEPS * STEPS_BETWEEN_PLAIN * (factor - 1.0)
    assert lost <= steps * LOSS_SHARE + OVERDRAFT_STEPS + CREDIT_STEPS * max(start) + factor + early


def test_what_was_gained_long_ago_does_not_count_for_ever() -> None:
    balance = known()
    for _ in range(20):
        balance.guessed(1.0, 4)
    for _ in range(int(CREDIT_STEPS + OVERDRAFT_STEPS) + 1):
        balance.guessed(2.0, 0)
    assert balance.rests


def test_a_guess_kept_by_one_of_many_sequences_is_worth_a_part_of_a_step() -> None:
    balance = Balance(4)
    for _ in range(FIRST_PLAIN_STEPS):
        balance.plain(1.0)
    # Twice as long for a quarter more: not worth it.
    for _ in range(3):
        balance.guessed(2.0, 1)
    assert balance.rests


def test_while_guesses_rest_only_those_go_on_that_are_likely_to_pay_well() -> None:
    balance = known()
    assert balance.least_gain == 1.0
    balance.guessed(9.0, 0)
    assert balance.least_gain == SURE_GAIN_FACTOR


def test_what_was_lost_is_told_and_what_was_gained() -> None:
    balance = known()
    assert balance.guessed(3.0, 0) == 2.0
    assert balance.guessed(2.0, 3) == -2.0


def test_a_guess_against_the_odds_is_paid_from_what_guesses_saved() -> None:
    balance = known()
    assert not balance.affords_trial
    balance.guessed(1.0, 1)
    assert balance.affords_trial


def test_searching_in_vain_counts_against_guesses() -> None:
    balance = known()
    for _ in range(30):
        balance.plain(1.0, 0.1)
    assert balance.rests
