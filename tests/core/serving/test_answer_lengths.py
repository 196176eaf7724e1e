"""When an answer that is being written may end."""

from __future__ import annotations

from msgspec.structs import replace

from core.serving.answer_lengths import AnswerLengths, estimate_length
from core.snapshots import EtaBasis, RequestRow, RequestState
from tests.fakes.support import asks

ROW = RequestRow("a", "echo", RequestState.DECODE, completion_tokens=20, rate=10.0)


def test_an_answer_is_taken_to_be_as_long_as_the_middle_one_of_those_that_were_longer() -> None:
    assert estimate_length(20, None, (5, 30, 50, 90)) == (50, EtaBasis.USUAL_LENGTH)
    assert estimate_length(60, None, (5, 30, 50, 90)) == (90, EtaBasis.USUAL_LENGTH)
    assert estimate_length(90, None, (5, 30, 50, 90)) is None


def test_no_answer_is_taken_to_be_longer_than_it_may_be() -> None:
    assert estimate_length(20, 40, (50, 90)) == (40, EtaBasis.MAX_TOKENS)
    assert estimate_length(20, 4000, (50,)) == (50, EtaBasis.USUAL_LENGTH)
    assert estimate_length(60, 4000, (50,)) == (4000, EtaBasis.MAX_TOKENS)


def test_the_time_left_is_that_of_one_choice_though_the_pace_is_that_of_all() -> None:
    lengths = AnswerLengths()
    lengths.note_end(replace(ROW, completion_tokens=120), asks("x", n=2))
    # Two choices of 60 tokens; each has 10 of them now, at 5 a second.
    row = lengths.estimate_end(ROW, asks("x", n=2))
    assert (row.eta, row.eta_basis) == (10.0, EtaBasis.USUAL_LENGTH)


def test_nothing_is_estimated_without_a_pace() -> None:
    assert AnswerLengths().estimate_end(replace(ROW, rate=0.0), asks("x", max_tokens=100)).eta is None
