"""What models of each family write, and what their clients are told of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.answer import FAULTY
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.events import FinishReason
from tests.core.chat.parsers.examples import EXAMPLES, TOOLS, Written
from tests.fakes.answers import ReadAnswer, cut_text, read_pieces


def family_of(template: str) -> ChatFamily:
    family = choose_family(template)
    assert family is not None
    return family


def read(written: Written, pieces: list[str]) -> ReadAnswer:
    return read_pieces(family_of(written.template), pieces, TOOLS, phase=written.phase, reason=written.reason)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_answer_is_told_as_words_thoughts_and_calls(example: Written) -> None:
    assert read(example, [example.text]) == example.read


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_it_is_told_the_same_however_it_is_cut(example: Written) -> None:
    for size in (1, 2, 3, 5, 7, 11):
        assert read(example, cut_text(example.text, size)) == example.read


TEMPLATES = sorted({example.template for example in EXAMPLES.values()})
DAMAGES = "<>{}[]\"'\\,:=| \na\ud800"
SCRAPS = sorted({scrap for example in EXAMPLES.values() for scrap in cut_text(example.text, 9)})


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(TEMPLATES),
    st.lists(st.one_of(st.sampled_from(SCRAPS), st.text(max_size=6)), max_size=14).map("".join),
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.sampled_from((ThinkingPhase.BEFORE, ThinkingPhase.INSIDE)),
    st.sampled_from((FinishReason.STOP, FinishReason.LENGTH)),
)
def test_whatever_a_model_writes_is_read_alike_in_any_pieces(
    template: str, text: str, sizes: list[int], phase: ThinkingPhase, reason: FinishReason
) -> None:
    written = Written(template, text, ReadAnswer(), phase, reason)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    assert read(written, pieces) == read(written, [text])


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(EXAMPLES)),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 8), st.text(DAMAGES, max_size=3)), max_size=4),
)
def test_a_damaged_answer_is_read_alike_in_any_pieces(name: str, damages: list[tuple[int, int, str]]) -> None:
    example = EXAMPLES[name]
    text = example.text
    for at, gone, instead in damages:
        text = f"{text[:at]}{instead}{text[at + gone :]}"
    told = read(example, [text])
    assert read(example, list(text)) == told
    assert FAULTY not in told.notes
