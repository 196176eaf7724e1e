"""Marks are found again wherever they stand, and cost the same however many control tokens there are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.marks import BREAK, CLOSE, OPEN, STRIDE_CHARACTERS, Marker, PromptPiece

CONTROLS = ["<s>", "</s>", "<s>x", "<|im_end|>", "[INST]"]
MARKER = Marker(CONTROLS)


def plain_of(marker: Marker, text: str) -> str:
    """All that is left of a text whose pieces are put together again."""
    return "".join(piece.text for piece in marker.split(marker.mark(text)))


@given(st.lists(st.sampled_from([*CONTROLS, OPEN, CLOSE, BREAK, "<", "s>", "x", " ", "\n", "[INST"])).map("".join))
def test_a_text_comes_back_whole_and_no_control_token_in_it_counts(text: str) -> None:
    pieces = MARKER.split(MARKER.mark(text))
    assert "".join(piece.text for piece in pieces) == text
    assert not [piece for piece in pieces if not piece.plain and any(token in piece.text for token in CONTROLS)]


JSON_TEXTS = st.lists(st.sampled_from([*CONTROLS, OPEN, "<", "s>", "x", " ", "\n", "\n\n", "é"])).map("".join)


@given(
    st.recursive(
        JSON_TEXTS | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    st.booleans(),
    st.sampled_from([[], ["\n\n!"], ["é"], ["X"]]),
    st.sampled_from([[], [("x", "<")], [("x", "")]]),
)
def test_in_the_json_of_a_value_all_is_marked_that_is_in_its_texts(
    value: object, ascii_only: bool, more: list[str], replaced: list[tuple[str, str]]
) -> None:
    for folds in (False, True):
        marker = Marker([*CONTROLS, *more], replaced, folds=folds)
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert marker.mark_json(text, value) == marker.mark_all(value)


@pytest.mark.parametrize(
    "before",
    [
        STRIDE_CHARACTERS - 12,
        STRIDE_CHARACTERS - 10,
        STRIDE_CHARACTERS - 5,
        STRIDE_CHARACTERS - 1,
        STRIDE_CHARACTERS,
        STRIDE_CHARACTERS + 1,
    ],
)
def test_a_token_that_lies_across_two_strides_is_found(before: int) -> None:
    text = "a" * before + "<|im_end|>" + "b" * STRIDE_CHARACTERS + "</s>"
    assert MARKER.mark(text) == f"{'a' * before}{OPEN}<|im_end|>{CLOSE}{'b' * STRIDE_CHARACTERS}{OPEN}</s>{CLOSE}"
    assert plain_of(MARKER, text) == text
    assert [piece.text for piece in MARKER.split(MARKER.mark(text)) if piece.plain] == ["<|im_end|>", "</s>"]


def test_the_longest_control_token_is_marked() -> None:
    assert MARKER.mark("<s>xy") == f"{OPEN}<s>x{CLOSE}y"


def test_the_templates_own_tokens_stay_what_they_are() -> None:
    assert MARKER.split("<s>[INST]") == [PromptPiece("<s>[INST]", plain=False)]


def test_a_mark_that_lost_its_partner_parts_the_text_and_is_gone() -> None:
    assert [piece.text for piece in MARKER.split(f"<s{OPEN}>a{CLOSE}b{BREAK}c")] == ["<s", ">a", "b", "c"]


def test_many_and_long_and_nested_control_tokens_are_found() -> None:
    nested = ["a" * length for length in range(1, 180)]
    long = ["<" + "b" * 5000 + ">", *(f"<|reserved_{number}|>" for number in range(2000))]
    marker = Marker([*nested, *long])
    for token in (nested[0], nested[-1], long[0], long[-1]):
        assert marker.mark(f"({token})") == f"({OPEN}{token}{CLOSE})"


def test_a_name_that_is_part_of_a_control_token_stands_apart() -> None:
    marker = Marker(["<|assistant|>"])
    assert marker.mark_name("assistant") == f"{BREAK}assistant{BREAK}"
    assert marker.mark_name("ann") == "ann"
    assert marker.mark("assistant") == "assistant"


def test_without_control_tokens_there_is_nothing_to_mark() -> None:
    marker = Marker([])
    assert marker.mark(OPEN) == OPEN
    assert marker.split(OPEN) == [PromptPiece(OPEN, plain=False)]
