"""A model's own heads as proposers, alone and beside what is looked up."""

from collections.abc import Sequence

import pytest

from core.contract.models import AheadWish
from core.contract.step import SequenceId
from core.decoding.mtp import RUN_TOKENS, LookupOrMtp, MtpDraft
from core.decoding.speculate import FIRM_TOKENS, MTP, PROMPT_LOOKUP, GuessOutcome, GuessWish, Speculation
from core.errors import EngineError, EngineFailed
from tests.fakes.guessing import guess_always

TEXT = list(range(100, 140))


class CountingHeads:
    """Counts upwards from the token that is due."""

    def __init__(self, most: int | None = None) -> None:
        self.most_ahead = most
        self.asked: list[AheadWish] = []

    def guess_ahead(self, wishes: Sequence[AheadWish]) -> list[list[int]]:
        self.asked = list(wishes)
        return [[wish.due + 1 + index for index in range(wish.most)] for wish in wishes]


class FailingHeads(CountingHeads):
    def guess_ahead(self, wishes: Sequence[AheadWish]) -> list[list[int]]:
        raise EngineFailed("The heads failed.")


def wish(key: str, tokens: list[int], most: int, sequence: int | None = 0) -> GuessWish:
    return GuessWish(key, tokens, most, sequence=None if sequence is None else SequenceId(sequence))


def test_the_heads_guess_behind_the_last_token_of_those_that_ask() -> None:
    heads = CountingHeads()
    draft = MtpDraft(heads)
    wishes = [wish("a", [1, 2], 2, 7), wish("b", [3], 0, 8), wish("c", [5], 1, 9), wish("d", [6], 3, None)]
    assert draft.weigh(wishes) == [RUN_TOKENS, RUN_TOKENS, RUN_TOKENS, 0]
    assert draft.propose(wishes) == [[3, 4], [], [6], []]
    assert [(each.sequence, each.due) for each in heads.asked] == [(7, 2), (9, 5)]


@pytest.mark.parametrize(("heads", "run"), [(None, RUN_TOKENS), (2, 2), (9, RUN_TOKENS)])
def test_several_heads_guess_no_further_than_they_are_many(heads: int | None, run: int) -> None:
    assert MtpDraft(CountingHeads(heads)).weigh([wish("a", [1], 5)]) == [run]


def test_what_is_copied_is_looked_up_and_the_heads_guess_the_rest() -> None:
    heads = CountingHeads()
    both = LookupOrMtp(MtpDraft(heads))
    wishes = [wish("copies", [*TEXT, 1, *TEXT[:10]], 12, 1), wish("writes", [7, 8, 9], 3, 2)]
    runs = both.weigh(wishes)
    assert (runs[0] >= FIRM_TOKENS, runs[1]) == (True, RUN_TOKENS)
    assert both.propose(wishes) == [TEXT[10:22], [10, 11, 12]]
    assert [each.sequence for each in heads.asked] == [2]


def test_a_short_run_is_left_to_the_heads() -> None:
    both = LookupOrMtp(MtpDraft(CountingHeads()))
    wishes = [wish("a", [*TEXT, 1, *TEXT[:3]], 2)]
    assert both.weigh(wishes) == [RUN_TOKENS]
    assert both.propose(wishes) == [[TEXT[2] + 1, TEXT[2] + 2]]


def test_what_ended_helps_its_owner_later() -> None:
    heads = CountingHeads()
    both = LookupOrMtp(MtpDraft(heads))
    first = GuessWish("first", [1, *TEXT], 4, prompt=1, owner="me", sequence=SequenceId(0))
    both.weigh([first])
    both.forget(first)
    second = GuessWish("second", TEXT[:12], 4, prompt=12, owner="me", sequence=SequenceId(1))
    assert both.weigh([second])[0] >= FIRM_TOKENS
    assert both.propose([second]) == [TEXT[12:16]]
    both.shutdown()
    assert heads.asked == []


def test_where_the_heads_fail_what_is_copied_is_looked_up_still(monkeypatch: pytest.MonkeyPatch) -> None:
    guess_always(monkeypatch)
    speculation = Speculation(LookupOrMtp(MtpDraft(FailingHeads())))
    copies, writes = wish("copies", [*TEXT, 1, *TEXT[:10]], 12, 1), wish("writes", [7, 8, 9], 3, 2)
    assert speculation.stats.by == f"{PROMPT_LOOKUP}, {MTP}"
    assert speculation.guesses([writes]) == [[]]
    assert speculation.guesses([copies]) == [TEXT[10:20]]
    speculation.learn([GuessOutcome("copies", 10, 10)], 0.1)
    assert speculation.stats.by == PROMPT_LOOKUP
    # Short runs are not left to anybody then.
    assert speculation.guesses([wish("short", [*TEXT, 1, *TEXT[:3]], 2)]) == [TEXT[3:5]]


def test_heads_that_guess_alone_tell_that_they_failed() -> None:
    with pytest.raises(EngineError, match="The heads failed."):
        MtpDraft(FailingHeads()).propose([wish("a", [1], 2)])
