"""Guessing: what is looked up, how many, and whether at all."""

from collections.abc import Hashable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from core.decoding.speculate import (
    CREDIT_STEPS,
    FIRST_GUESSES,
    FIRST_PLAIN_STEPS,
    LOSS_SHARE,
    MOST_GUESSES,
    OVERDRAFT_STEPS,
    RECENT_STEPS,
    RUN_TOKENS,
    STEPS_BETWEEN_PLAIN,
    Balance,
    GuessOutcome,
    GuessWish,
    PromptLookup,
    Speculation,
)

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def looked_up(tokens: Sequence[int], most: int = 6) -> list[int]:
    (found,) = PromptLookup().propose([GuessWish("key", tokens, most)])
    return found


def searched(tokens: list[int], most: int) -> list[int]:
    """The same by its definition, without an index."""
    for length in RUN_TOKENS:
        tail = tokens[-length:]
        for end in range(len(tokens) - 1, length - 1, -1):
            if tokens[end - length : end] == tail:
                copied = list(tokens)
                for step in range(most):
                    copied.append(copied[end + step])
                return copied[len(tokens) :]
    return []


def test_what_followed_the_same_tokens_before_is_guessed() -> None:
    assert looked_up([1, 2, 3, 4, 5, 9, 1, 2, 3], 2) == [4, 5]


def test_the_last_time_counts() -> None:
    assert looked_up([1, 2, 7, 1, 2, 8, 1, 2], 1) == [8]


def test_what_repeats_is_guessed_to_go_on_beyond_its_end() -> None:
    assert looked_up([1, 2, 3, 1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]


def test_nothing_is_guessed_of_a_text_without_repetition() -> None:
    assert looked_up([1, 2, 3, 4, 5]) == []
    assert looked_up([1]) == []


@given(TEXTS, st.integers(0, 8), st.integers(1, 59))
def test_a_lookup_that_grows_with_the_text_finds_what_a_search_finds(tokens: list[int], most: int, step: int) -> None:
    lookup = PromptLookup()
    for end in (*range(1, len(tokens), step), len(tokens)):
        assert lookup.propose([GuessWish("key", tokens[:end], most)]) == [searched(tokens[:end], most)]


def test_a_forgotten_sequence_leaves_nothing_behind() -> None:
    lookup = PromptLookup()
    lookup.propose([GuessWish("key", [1, 2, 3, 1, 2], 3)])
    lookup.forget("key")
    assert lookup.propose([GuessWish("key", [1, 2], 3)]) == [[]]


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
    balance.guessed(2.5, 0)
    assert balance.guesses
    balance.guessed(2.5, 0)
    assert not balance.guesses


@given(st.floats(1.01, 20.0), st.lists(st.floats(0.5, 20.0), min_size=FIRST_PLAIN_STEPS, max_size=FIRST_PLAIN_STEPS))
def test_guesses_that_never_pay_cost_no_more_than_they_may_however_the_start_was_disturbed(
    factor: float, start: list[float]
) -> None:
    balance = Balance(1)
    for seconds in start:
        balance.plain(seconds)
    lost, steps = 0.0, 20_000
    for _ in range(steps):
        if balance.guesses:
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
    assert not balance.guesses


def test_a_guess_kept_by_one_of_many_sequences_is_worth_a_part_of_a_step() -> None:
    balance = Balance(4)
    for _ in range(FIRST_PLAIN_STEPS):
        balance.plain(1.0)
    # Twice as long for a quarter more: not worth it.
    for _ in range(3):
        balance.guessed(2.0, 1)
    assert not balance.guesses


class Always:
    """Guesses sevens."""

    name = "always"
    promised = 0

    def __init__(self) -> None:
        self.forgotten: list[Hashable] = []

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [[7] * wish.most for wish in wishes]

    def forget(self, key: Hashable) -> None:
        self.forgotten.append(key)

    def shutdown(self) -> None: ...


def warm(proposer: Always | None = None) -> Speculation:
    speculation = Speculation(proposer or Always())
    for _ in range(FIRST_PLAIN_STEPS):
        assert speculation.guesses([GuessWish("a", [1], 9)]) == [[]]
        speculation.learn([GuessOutcome("a", 0, 0)], 1.0)
    return speculation


def lengths(speculation: Speculation, kept: Sequence[int], most: int = 9) -> list[int]:
    """Guesses made in each step, of which so many came true."""
    made = []
    for count in kept:
        (guesses,) = speculation.guesses([GuessWish("a", [1], most)])
        made.append(len(guesses))
        # Less than a plain step costs, so that guessing never rests.
        speculation.learn([GuessOutcome("a", len(guesses), count)], 0.01)
    return made


def test_guesses_grow_while_they_come_true_and_shrink_when_they_do_not() -> None:
    assert lengths(warm(), [FIRST_GUESSES, 0, 1, 2, 1, 0]) == [FIRST_GUESSES, MOST_GUESSES, 1, 2, 4, 2]


def test_no_more_is_guessed_than_there_is_room_for() -> None:
    assert lengths(warm(), [2, 2], most=2) == [2, 2]
    assert lengths(warm(), [0], most=0) == [0]


def test_what_was_guessed_and_kept_is_counted() -> None:
    speculation = warm()
    lengths(speculation, [4, 3])
    assert (speculation.stats.guessed, speculation.stats.kept) == (FIRST_GUESSES + MOST_GUESSES, 7)
    assert speculation.stats.by == "always"


def test_a_sequence_is_forgotten_once() -> None:
    proposer = Always()
    speculation = warm(proposer)
    for _ in range(2):
        speculation.forget("a")
    speculation.forget("never seen")
    assert proposer.forgotten == ["a"]


def test_slow_guessing_counts_against_guesses() -> None:
    speculation = warm()
    for _ in range(3):
        (guesses,) = speculation.guesses([GuessWish("a", [1], 9)])
        speculation.learn([GuessOutcome("a", len(guesses), 0)], 2.0)
    assert speculation.guesses([GuessWish("a", [1], 9)]) == [[]]
