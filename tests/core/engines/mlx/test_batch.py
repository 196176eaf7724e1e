"""Who shares a pass."""

from core.contract.step import SequenceId
from core.engines.mlx.batch import SLACK_TOKENS, choose_batch


def rows(*lengths: int) -> list[int]:
    return sorted(choose_batch({SequenceId(index): length for index, length in enumerate(lengths)}))


def test_sequences_of_like_lengths_share_a_pass() -> None:
    assert rows(100, 120, 90) == [0, 1, 2]
    assert rows(SLACK_TOKENS, 10, 10) == [0, 1, 2]


def test_one_long_sequence_goes_alone_rather_than_pad_all_others() -> None:
    assert rows(100, 30_000, 90, 80) == [0, 2, 3]


def test_nobody_shares_with_nobody() -> None:
    assert rows() == []
    assert rows(5) == [0]
