"""Tokens to words, and languages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.engines.whisper.words import SpokenPiece, join_words
from core.tasks.languages import LANGUAGES, find_code, name_of


def pieces(*data: bytes) -> list[SpokenPiece]:
    return [SpokenPiece(each, float(number), number + 1.0) for number, each in enumerate(data)]


def test_a_word_begins_with_a_space_and_ends_with_its_last_piece() -> None:
    found = join_words(pieces(b" He", b"llo", b",", b" w\xc3", b"\xb6rld"), "en")
    assert [(word.text, word.start, word.end) for word in found] == [("Hello,", 0.0, 3.0), ("wörld", 3.0, 5.0)]


def test_without_spaces_each_whole_character_is_a_word() -> None:
    data = "音声".encode()
    assert [word.text for word in join_words(pieces(data[:2], data[2:3], data[3:]), "ja")] == ["音", "声"]


@given(st.text(), st.integers(1, 5), st.sampled_from(["en", "ja"]))
def test_no_character_is_lost_however_it_is_cut(text: str, size: int, language: str) -> None:
    data = text.encode()
    cut = pieces(*(data[start : start + size] for start in range(0, len(data), size)))
    assert "".join("".join(word.text.split()) for word in join_words(cut, language)) == "".join(text.split())


def test_languages_go_by_code_and_by_name() -> None:
    import _pywhispercpp as native

    for number, (code, name) in enumerate(LANGUAGES.items()):
        assert native.whisper_lang_str(number) == code
        assert native.whisper_lang_id(name.replace("_", " ")) == number
        assert find_code(name_of(code)) == find_code(code.upper()) == code
    assert find_code("klingon") is None
