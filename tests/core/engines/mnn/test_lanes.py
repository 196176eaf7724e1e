"""Which KV cache serves a sequence. Pure: no MNN, no model."""

from typing import cast

from core.contract.step import SequenceId
from core.engines.mnn.lanes import KvLane, choose_lane
from core.engines.mnn.native import Llm


def lane(tokens: list[int], owner: int | None = None) -> KvLane:
    made = KvLane(cast(Llm, None))
    made.tokens = tokens
    made.owner = None if owner is None else SequenceId(owner)
    return made


def test_the_free_lane_that_holds_most_is_taken() -> None:
    lanes = [lane([]), lane([1, 2, 9]), lane([1, 7])]
    assert choose_lane(lanes, [1, 2, 3]) == (lanes[1], 2)


def test_anothers_lane_is_taken_when_most_of_it_is_wanted() -> None:
    lanes = [lane([]), lane([1, 2, 3, 4], owner=5)]
    assert choose_lane(lanes, [1, 2, 3]) == (lanes[1], 3)


def test_anothers_lane_is_left_alone_when_little_of_it_is_wanted() -> None:
    lanes = [lane([]), lane([1, 2, 3, 4, 5, 6], owner=5)]
    assert choose_lane(lanes, [1, 2, 9]) == (lanes[0], 0)


def test_a_free_lane_goes_before_anothers_that_holds_as_much() -> None:
    lanes = [lane([1, 2], owner=5), lane([1, 2])]
    assert choose_lane(lanes, [1, 2, 3]) == (lanes[1], 2)
