"""Which names a few typed letters mean."""

from __future__ import annotations

from tui.fuzzy import pick_matches, rank_match

NAMES = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b", "Qwen2.5-coder-1.5b", "gemma-3-270m")


def _picked(typed: str) -> list[str]:
    return pick_matches(typed, NAMES, str)


def test_letters_and_words_in_any_order_find_a_name_and_the_nearest_comes_first() -> None:
    assert _picked("qw15") == ["Qwen2.5-coder-1.5b"]
    assert _picked("1.5 QWEN") == ["Qwen2.5-coder-1.5b"]
    assert _picked("2m") == ["gemma-3-270m", "smollm2-135m-instruct"]
    assert _picked("zz") == []
    assert _picked(" ") == [*NAMES]


def test_a_run_of_letters_is_nearer_than_scattered_ones() -> None:
    near, far = rank_match("code", "my-coder"), rank_match("code", "c-o-d-e")
    assert near is not None
    assert far is not None
    assert near < far
