"""Passes that are filled up to a tile of llama.cpp's attention: when, and that nothing of it stays."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.model import TrimmingLlamaModel
from core.engines.llamacpp.tiles import BUILT_WITH, TILE_ROWS, SlowRows, find_slow_rows
from core.guide import WEIGHTS
from core.requests import Sampling

SLOW = SlowRows(0.002)
QWEN = {"layers": 24, "heads": 14, "head_size": 64, "parameters": 500_000_000}
OPTIONS = LoadOptions(ctx_size=256, slots=1, threads=1, batch_threads=1, extra_buffers=False)
GREEDY = Sampling(temperature=0.0, logprobs=1)


def test_a_small_pass_deep_in_a_prompt_is_filled_up_to_a_tile() -> None:
    assert SLOW.count_padding([(32, 4032)]) == TILE_ROWS - 32
    assert SLOW.count_padding([(63, 2000)]) == 1


def test_a_token_alone_a_beginning_and_a_whole_tile_are_left_as_they_are() -> None:
    assert SLOW.count_padding([(1, 30_000)]) == 0
    assert SLOW.count_padding([(32, 32)]) == 0
    assert SLOW.count_padding([(TILE_ROWS, 4000)]) == 0
    assert SLOW.count_padding([(300, 4000)]) == 0


def test_many_sequences_of_a_token_each_are_not_filled_up_since_a_tile_attends_to_all_of_them() -> None:
    assert SLOW.count_padding([(1, 1000)] * 32) == 0


@pytest.mark.parametrize(
    ("features", "build", "head_size"),
    [(["avx2"], BUILT_WITH, 64), (["avx512_fp16"], "AVX2 = 1", 64), (["avx512_fp16"], BUILT_WITH, 128)],
)
def test_attention_is_slow_only_for_small_heads_on_processors_that_llama_cpp_was_built_for(
    features: list[str], build: str, head_size: int
) -> None:
    assert find_slow_rows(features, build, **{**QWEN, "head_size": head_size}) is None
    assert find_slow_rows(["avx512_fp16"], BUILT_WITH, **QWEN) is not None


@contextmanager
def loaded(slow: SlowRows | None) -> Iterator[TrimmingLlamaModel]:
    model = LlamaCppEngine().load(Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size), OPTIONS)
    assert isinstance(model, TrimmingLlamaModel)
    model.slow_rows = slow
    try:
        yield model
    finally:
        model.shutdown()


def answers(model: TrimmingLlamaModel) -> tuple[list[Step], int]:
    """What a prompt's end, guesses behind it and the tokens behind those give, and the size of the state at last."""
    prompt = [300 + place * 7 % 400 for place in range(120)]
    sequence = model.open(GREEDY)
    model.step([Work(sequence, prompt[:80], sample=False)])
    steps = [*model.step([Work(sequence, prompt[80:], sample=True)])]
    steps += model.step([Work(sequence, list(steps[-1].tokens[-1:]), draft=range(1, 9), sample=True)])
    for _ in range(5):
        steps += model.step([Work(sequence, list(steps[-1].tokens[-1:]), sample=True)])
    return steps, len(model.save(sequence))


def test_what_fills_a_pass_changes_no_answer_and_leaves_nothing_behind() -> None:
    with loaded(None) as plain:
        expected, size = answers(plain)
    with loaded(SlowRows(1.0)) as filling:
        assert filling.slow_rows is not None
        assert filling.slow_rows.count_padding([(40, 120)])
        assert filling.slow_rows.count_padding([(9, 129)])
        found, found_size = answers(filling)
    assert found_size == size
    assert [step.tokens for step in found] == [step.tokens for step in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert [each.chosen for each in mine.logprobs] == pytest.approx(
            [each.chosen for each in theirs.logprobs], abs=0.02
        )


def test_where_the_kv_cache_has_no_room_for_it_a_pass_is_computed_as_it_is() -> None:
    with loaded(SlowRows(1.0)) as model:
        sequence = model.open(GREEDY)
        cells = model.spec.cells
        model.step([Work(sequence, [5] * (cells - 40), sample=False)])
        (step,) = model.step([Work(sequence, [6] * 40, sample=True)])
        assert len(step.tokens) == 1
