"""Which parts of answers differ, word by word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.conversations.differences import MOST_COMPARED_WORDS, find_differences


def _marked(texts: list[str]) -> list[list[str]]:
    return [
        [text[start:end] for start, end in spans] for text, spans in zip(texts, find_differences(texts), strict=True)
    ]


def test_words_that_one_answer_has_alone_are_marked_together() -> None:
    texts = ["A cache keeps the keys of old tokens.", "A cache holds the keys of tokens.", "It keeps keys."]
    assert _marked(texts) == [["old"], ["holds"], ["It"]]


def test_case_and_blanks_are_no_difference() -> None:
    assert _marked(["The cache\nkeeps", "the  cache keeps"]) == [[], []]


def test_of_a_long_text_the_beginning_is_compared() -> None:
    long = "word " * (MOST_COMPARED_WORDS + 10)
    assert find_differences([long, "other"])[0] == ((0, 5 * MOST_COMPARED_WORDS - 1),)


@given(st.lists(st.text(alphabet="ab .", max_size=30), min_size=2, max_size=4))
def test_what_is_not_marked_stands_in_another_answer(texts: list[str]) -> None:
    for number, (text, spans) in enumerate(zip(texts, find_differences(texts), strict=True)):
        others = _words(" ".join(other for at, other in enumerate(texts) if at != number))
        edges = [0, *(edge for span in spans for edge in span), len(text)]
        kept = "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        assert _words(kept) <= others


def _words(text: str) -> set[str]:
    return set(text.replace(".", " . ").split())
