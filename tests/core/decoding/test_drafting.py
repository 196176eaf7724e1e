"""A draft model that runs ahead: echo models, which say each token of their script and count their cells."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.decoding.drafting import MOST_FAILURES, SMALLEST_CHUNK_TOKENS, DraftModel, compare_vocabularies
from core.decoding.speculate import GuessWish
from core.engines.echo import TURN_END, EchoModel, EchoTokenizer
from core.errors import EngineFailed


def echo(context: int = 256, slots: int = 2, batch: int = 512) -> EchoModel:
    return EchoModel(LoadOptions(ctx_size=context, slots=slots, batch=batch))


class Noting(EchoModel):
    """Notes how many tokens it computes."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self.computed: list[int] = []

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        self.computed += [len(item.tokens) for item in work]
        return super().step(work)


def drafted(model: EchoModel) -> DraftModel:
    return DraftModel("echo", model, model.tokenizer.size)


def text(tokens: list[int]) -> str:
    return bytes(tokens).decode()


PROMPT = list(b"abcdefgh")


def test_it_runs_ahead_of_a_prompt() -> None:
    assert [text(guess) for guess in drafted(echo()).propose([GuessWish("a", PROMPT, 3)])] == ["abc"]


def test_it_follows_what_came_true_and_takes_back_what_did_not() -> None:
    draft = drafted(echo())
    draft.propose([GuessWish("a", PROMPT, 3)])
    assert [text(guess) for guess in draft.propose([GuessWish("a", [*PROMPT, *b"ab"], 3)])] == ["cde"]
    # The large model wrote something else, and in the echo's script so many tokens stand for themselves.
    assert [text(guess) for guess in draft.propose([GuessWish("a", [*PROMPT, *b"abXY"], 2)])] == ["ef"]


def test_what_is_right_already_is_not_computed_again() -> None:
    model = Noting(LoadOptions(ctx_size=256, slots=2))
    draft = drafted(model)
    draft.propose([GuessWish("a", PROMPT, 3)])
    draft.propose([GuessWish("a", [*PROMPT, *b"abc"], 2)])
    # The prompt, two guesses; then the guess that was never fed, and one more.
    assert model.computed == [len(PROMPT), 1, 1, 1, 1]


def test_sequences_are_followed_side_by_side() -> None:
    draft = drafted(echo())
    wishes = [GuessWish("a", PROMPT, 2), GuessWish("b", list(b"vwxyz"), 4)]
    assert [text(guess) for guess in draft.propose(wishes)] == ["ab", "vwxy"]


def test_a_long_prompt_is_caught_up_with_over_several_calls() -> None:
    draft = drafted(echo(batch=4))
    assert draft.propose([GuessWish("a", PROMPT, 2)]) == [[]]
    assert [text(guess) for guess in draft.propose([GuessWish("a", PROMPT, 2)])] == ["ab"]


def test_while_a_prompt_is_read_nobody_guesses() -> None:
    draft = drafted(echo())
    draft.propose([GuessWish("a", PROMPT, 2)])
    both = [GuessWish("a", PROMPT, 2), GuessWish("b", PROMPT * 3, 2)]
    assert draft.propose(both) == [[], []]
    assert [text(guess) for guess in draft.propose(both)] == ["ab", "ab"]


def test_no_more_of_a_prompt_is_read_at_once_than_streams_may_wait_for() -> None:
    model = Noting(LoadOptions(ctx_size=256, slots=2))
    drafted(model).propose([GuessWish("a", PROMPT * 16, 2)])
    # How fast it reads is not known yet.
    assert model.computed == [SMALLEST_CHUNK_TOKENS]


def test_what_another_sequence_has_read_is_not_read_again() -> None:
    model = Noting(LoadOptions(ctx_size=256, slots=2))
    draft = drafted(model)
    draft.propose([GuessWish("a", PROMPT, 1)])
    draft.propose([GuessWish("b", [*PROMPT[:5], *b"xyz"], 1)])
    assert model.computed == [len(PROMPT), 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20), st.integers(0, 7)), max_size=30))
def test_guesses_never_need_more_cells_or_sequences_than_there_are(turns: list[tuple[int, int, int]]) -> None:
    draft = drafted(echo(context=40, slots=2))
    texts: dict[int, list[int]] = {}
    for key, more, most in turns:
        texts.setdefault(key, [key]).extend(range(97, 97 + more))
        found = draft.propose([GuessWish(key, tokens, most) for key, tokens in texts.items()])
        assert all(len(guess) <= most for guess in found)
        # An echo fails where a real model would: beyond its cells.
        assert draft._failures == 0


class Failing(EchoModel):
    """Fails for a while."""

    broken = True

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if self.broken:
            raise EngineFailed("No room.")
        return super().step(work)


def test_a_failure_costs_the_guesses_of_one_call_and_lasting_failure_is_told() -> None:
    model = Failing(LoadOptions(ctx_size=256, slots=2))
    draft = drafted(model)
    assert draft.propose([GuessWish("a", PROMPT, 2)]) == [[]]
    assert model._sequences == {}
    model.broken = False
    assert [text(guess) for guess in draft.propose([GuessWish("a", PROMPT, 2)])] == ["ab"]
    model.broken = True
    for _ in range(MOST_FAILURES):
        assert draft.propose([GuessWish("a", PROMPT, 2)]) == [[]]
    with pytest.raises(EngineFailed, match="No room"):
        draft.propose([GuessWish("a", PROMPT, 2)])


def test_a_token_that_the_draft_model_does_not_know_ends_its_guesses() -> None:
    model = Noting(LoadOptions(ctx_size=256, slots=2))
    assert drafted(model).propose([GuessWish("a", [*PROMPT, 300], 2)]) == [[]]
    assert model.computed == []


def test_the_end_is_the_last_guess() -> None:
    draft = drafted(echo())
    draft.propose([GuessWish("a", PROMPT, 1)])
    assert draft.propose([GuessWish("a", [*PROMPT, *PROMPT[:-1]], 5)]) == [[PROMPT[-1], TURN_END]]


def test_nothing_is_guessed_beyond_what_the_draft_model_holds() -> None:
    assert drafted(echo(context=10)).propose([GuessWish("a", PROMPT, 3)]) == [[]]
    draft = drafted(echo(context=12, slots=1))
    found = draft.propose([GuessWish("a", PROMPT, 2)]) + draft.propose([GuessWish("b", PROMPT, 2)])
    assert [text(guess) for guess in found] == ["ab", "ab"]
    # Both at once are too many, so that the second waits until the first has ended.
    both = [GuessWish("b", [*PROMPT, *b"ab"], 2), GuessWish("c", PROMPT, 2)]
    assert [text(guess) for guess in draft.propose(both)] == ["cd", ""]
    draft.forget(GuessWish("b", (), 0))
    assert [text(guess) for guess in draft.propose(both[1:])] == ["ab"]


def test_more_sequences_than_the_draft_model_holds_take_turns() -> None:
    draft = drafted(echo(context=256, slots=1))
    for key in range(10):
        assert [text(guess) for guess in draft.propose([GuessWish(key, PROMPT, 2)])] == ["ab"]


def test_a_sequence_that_wants_no_guesses_takes_nothing_from_idle_ones() -> None:
    model = Noting(LoadOptions(ctx_size=256, slots=1))
    draft = drafted(model)
    draft.propose([GuessWish("a", PROMPT, 2)])
    assert draft.propose([GuessWish("b", PROMPT, 0)]) == [[]]
    model.computed.clear()
    draft.propose([GuessWish("a", [*PROMPT, *b"ab"], 1)])
    assert sum(model.computed) < len(PROMPT)


def test_a_guess_that_the_large_model_does_not_know_is_none() -> None:
    draft = DraftModel("echo", echo(), vocabulary=ord("c"))
    assert [text(guess) for guess in draft.propose([GuessWish("a", PROMPT, 5)])] == ["ab"]


class Larger(EchoTokenizer):
    size = 600


class Shifted(EchoTokenizer):
    def piece(self, token: int) -> bytes:
        return super().piece((token + 1) % 256)


@pytest.mark.parametrize(("other", "says"), [(Larger(), "258 tokens, not 600"), (Shifted(), "its token 0 is another")])
def test_another_vocabulary_is_told_apart(other: EchoTokenizer, says: str) -> None:
    found = compare_vocabularies(EchoTokenizer(), other)
    assert found is not None
    assert says in found


def test_one_vocabulary_is_like_itself() -> None:
    assert compare_vocabularies(EchoTokenizer(), EchoTokenizer()) is None
