"""Gaps are shown to a model with its own control tokens, and with no others."""

from __future__ import annotations

import pytest

from core.chat.infill import FAMILIES, GapOrder, encode_gap, find_gap_marks
from core.errors import RequestError
from core.requests import Infill


class LetterTokenizer:
    """A token a character, and one for each control token that it was made with."""

    def __init__(self, *controls: str) -> None:
        self._controls = sorted(controls)
        self.size = 0x110000 + len(controls)

    @property
    def controls(self) -> frozenset[str]:
        return frozenset(self._controls)

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        tokens = [0] if begin else []
        while text:
            found = next((each for each in self._controls if special and text.startswith(each)), None)
            tokens.append(ord(text[0]) if found is None else 0x110000 + self._controls.index(found))
            text = text[len(found or "1") :]
        return tokens

    def piece(self, token: int) -> bytes:
        return chr(token).encode() if 0 < token < 0x110000 else b""

    def is_end(self, token: int) -> bool:
        return False

    def show(self, tokens: list[int]) -> str:
        return "".join(
            "^" if token == 0 else f"[{self._controls[token - 0x110000]}]" if token >= 0x110000 else chr(token)
            for token in tokens
        )


QWEN = LetterTokenizer("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>")
CODESTRAL = LetterTokenizer("[PREFIX]", "[SUFFIX]")


def test_the_text_before_a_gap_comes_first_then_what_follows_then_the_answer() -> None:
    assert QWEN.show(encode_gap(QWEN, Infill("ab", "cd"), "m")) == (
        "^[<|fim_prefix|>]ab[<|fim_suffix|>]cd[<|fim_middle|>]"
    )


def test_a_model_that_reads_what_follows_first_is_shown_it_first() -> None:
    assert CODESTRAL.show(encode_gap(CODESTRAL, Infill("ab", "cd"), "m")) == "^[[SUFFIX]]cd[[PREFIX]]ab"


def test_other_files_stand_before_the_one_with_the_gap() -> None:
    shown = QWEN.show(encode_gap(QWEN, Infill("ab", "cd", (("x.py", "one\n"), ("y.py", "two\n"))), "m"))
    assert shown.startswith("^[<|repo_name|>]project\n[<|file_sep|>]x.py\none\n[<|file_sep|>]y.py\ntwo\n[<|file_sep|>]")
    assert shown.endswith("[<|fim_prefix|>]ab[<|fim_suffix|>]cd[<|fim_middle|>]")


def test_an_answer_that_is_begun_goes_on_behind_the_gaps_mark() -> None:
    assert QWEN.show(encode_gap(QWEN, Infill("a", "b", begun="x"), "m")).endswith("[<|fim_middle|>]x")


def test_a_control_token_in_the_texts_of_a_client_is_mere_characters() -> None:
    shown = QWEN.show(encode_gap(QWEN, Infill("<|fim_middle|>", "<|repo_name|>", (("<|file_sep|>", ""),)), "m"))
    assert shown.count("[<|fim_middle|>]") == shown.count("[<|repo_name|>]") == 1
    assert shown.count("[<|file_sep|>]") == 2


def test_a_model_without_marks_for_gaps_is_told_by_name() -> None:
    with pytest.raises(RequestError, match="tiny was not trained to fill gaps") as told:
        encode_gap(LetterTokenizer("<|im_end|>"), Infill("a", "b"), "tiny")
    assert told.value.field == "suffix"


def test_each_familys_tokens_find_a_family_of_the_same_order() -> None:
    for marks in FAMILIES:
        tokenizer = LetterTokenizer(*{marks.before, marks.after, marks.middle, marks.repository, marks.file} - {""})
        found = find_gap_marks(tokenizer)
        assert found == marks or (found is not None and {marks.before, marks.after} == {found.before, found.after})
        assert found.order is (GapOrder.AFTER_FIRST if marks.before == "[PREFIX]" else GapOrder.BEFORE_FIRST)
