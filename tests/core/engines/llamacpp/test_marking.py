"""Sequences that can be cut where they were marked: a recurrent model, a hybrid, and one that keeps windows alone."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contract.artifact import Artifact
from core.contract.models import Trims
from core.contract.options import LoadOptions
from core.contract.step import SequenceId
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.marking import LATEST_MARKS, MARK_HEADER, MOST_MARKS, MarkingLlamaModel, choose_spare_mark
from core.errors import EngineError
from tests.contract.test_token_model import GREEDY, continue_with, feed
from tests.fakes.architectures import write_random

PROMPT = [300 + place * 31 % 1500 for place in range(900)]
"""Longer than the window of the model that has one."""
OTHER = [7, 8, 9]


@pytest.fixture(scope="module", params=["mamba", "granitehybrid", "gemma3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarkingLlamaModel]:
    path = write_random(request.param, tmp_path_factory.mktemp("weights"))
    options = LoadOptions(
        ctx_size=2048, slots=2, batch=256, swa_full=False, threads=1, batch_threads=1, extra_buffers=False
    )
    loaded = LlamaCppEngine().load(Artifact(request.param, "gguf", path, path.stat().st_size), options)
    assert isinstance(loaded, MarkingLlamaModel)
    yield loaded
    loaded.shutdown()


def begin(model: MarkingLlamaModel, tokens: list[int]) -> SequenceId:
    sequence = model.open(GREEDY)
    read(model, sequence, tokens)
    return sequence


def read(model: MarkingLlamaModel, sequence: SequenceId, tokens: list[int]) -> None:
    for start in range(0, len(tokens), model.spec.batch):
        feed(model, sequence, tokens[start : start + model.spec.batch])


@pytest.fixture
def expected(model: MarkingLlamaModel) -> list[int]:
    """What follows OTHER behind the first 700 tokens, computed at once."""
    sequence = begin(model, PROMPT[:700])
    drawn = continue_with(model, sequence, OTHER, 10)
    model.close(sequence)
    return drawn


@pytest.fixture
def marked(model: MarkingLlamaModel) -> Iterator[SequenceId]:
    """All of the prompt, marked behind 300 and 700 tokens."""
    sequence = begin(model, PROMPT[:300])
    model.mark(sequence)
    read(model, sequence, PROMPT[300:700])
    model.mark(sequence)
    read(model, sequence, PROMPT[700:])
    yield sequence
    model.close(sequence)


def test_a_fork_at_a_mark_goes_on_as_if_nothing_had_followed(
    model: MarkingLlamaModel, marked: SequenceId, expected: list[int]
) -> None:
    assert not isinstance(model, Trims)
    assert model.marks(marked) == (300, 700)
    for _ in range(2):
        child = model.fork(marked, 700, GREEDY)
        assert model.marks(child) == (300, 700)
        assert continue_with(model, child, OTHER, 10) == expected
        model.close(child)
    child = model.fork(marked, 300, GREEDY)
    assert model.marks(child) == (300,)
    read(model, child, PROMPT[300:700])
    assert continue_with(model, child, OTHER, 10) == expected
    model.close(child)


def test_what_is_saved_can_be_cut_at_its_marks(model: MarkingLlamaModel, expected: list[int]) -> None:
    sequence = begin(model, PROMPT[:700])
    model.mark(sequence)
    read(model, sequence, PROMPT[700:])
    data = model.save(sequence)
    model.close(sequence)
    restored = model.restore(data, GREEDY)
    child = model.fork(restored, 700, GREEDY)
    model.close(restored)
    assert continue_with(model, child, OTHER, 10) == expected
    model.close(child)


def test_a_mark_holds_nothing_of_what_can_be_cut_anywhere(model: MarkingLlamaModel) -> None:
    sequence = begin(model, PROMPT[:600])
    plain = len(model.save(sequence))
    model.mark(sequence)
    mark = len(model._marked[sequence][600])
    assert len(model.save(sequence)) == plain + mark + MARK_HEADER.size
    assert mark < plain
    read(model, sequence, PROMPT[600:])
    model.mark(sequence)
    # However long the sequence has become.
    assert len(model._marked[sequence][900]) == mark
    model.close(sequence)


def test_a_sequence_is_cut_nowhere_else(model: MarkingLlamaModel, marked: SequenceId) -> None:
    for length in (0, 299, 900):
        with pytest.raises(EngineError, match="no mark"):
            model.fork(marked, length, GREEDY)


def test_damaged_marks_are_refused_and_nothing_stays_open(model: MarkingLlamaModel, marked: SequenceId) -> None:
    data = model.save(marked)
    for damaged in (b"", data[:5], b"BTS1" + data[4:], data[:4] + b"\xff" + data[5:], data[: len(data) // 3]):
        with pytest.raises(EngineError):
            model.restore(damaged, GREEDY)
    restored = model.restore(data, GREEDY)
    model._marked[restored][300] = model._marked[restored][300][:50]
    with pytest.raises(EngineError, match="state of a mark"):
        model.fork(restored, 300, GREEDY)
    assert len(model._sequences) == 2
    model.close(restored)


def test_marks_are_bounded_and_the_latest_stay(model: MarkingLlamaModel) -> None:
    sequence = model.open(GREEDY)
    for start in range(0, 300, 20):
        read(model, sequence, PROMPT[start : start + 20])
        model.mark(sequence)
    found = model.marks(sequence)
    assert len(found) == MOST_MARKS
    assert found[-LATEST_MARKS:] == (260, 280, 300)
    # The earlier ones stand wide apart.
    assert found[0] <= 80
    model.close(sequence)


@given(st.sets(st.integers(1, 100_000), min_size=LATEST_MARKS + 1, max_size=12).map(sorted))
def test_the_mark_that_goes_leaves_the_smallest_gap_and_is_none_of_the_latest(lengths: list[int]) -> None:
    gone = choose_spare_mark(lengths)
    assert gone in lengths[:-LATEST_MARKS]

    def gap(length: int) -> int:
        at = lengths.index(length)
        return lengths[at + 1] - (lengths[at - 1] if at else 0)

    assert gap(gone) == min(gap(each) for each in lengths[:-LATEST_MARKS])
