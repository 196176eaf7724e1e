"""Batch and micro-batch with llama.cpp: which are worth timing, and what is made of those asked for."""

import pytest

from core.contract.abilities import BatchSize
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.model import LlamaModel
from core.models.fit.sizing import list_batch_sizes
from core.models.resolve import resolve_own

GUIDE = resolve_own("guide")
SMALLER = [(512, 256), (512, 128)]


def pairs(found: list[BatchSize]) -> list[tuple[int, int]]:
    return [(size.batch, size.micro_batch) for size in found]


@pytest.mark.parametrize(
    ("options", "context", "expected"),
    [
        (LoadOptions(), 16_384, [(512, 512), *SMALLER, (1024, 1024), (2048, 2048)]),
        (LoadOptions(), 1024, [(512, 512), *SMALLER, (1024, 1024)]),
        (LoadOptions(), 256, [(512, 512), (512, 128)]),
        (LoadOptions(batch=512), 16_384, [(512, 512), *SMALLER]),
        (LoadOptions(batch=2048), 16_384, [(2048, 2048), (2048, 512), (2048, 256), (2048, 128)]),
        (LoadOptions(batch=64), 16_384, [(64, 64)]),
        (LoadOptions(micro_batch=64), 16_384, [(512, 64)]),
        (LoadOptions(batch=128, micro_batch=256), 16_384, [(128, 128)]),
    ],
)
def test_the_usual_size_comes_first_and_what_is_fixed_stays_fixed(
    options: LoadOptions, context: int, expected: list[tuple[int, int]]
) -> None:
    assert pairs(list_batch_sizes(options, context, lambda _: True)) == expected


def test_larger_sizes_are_offered_only_where_there_is_memory_for_them() -> None:
    assert pairs(list_batch_sizes(LoadOptions(), 16_384, lambda size: size <= 1024))[-1] == (1024, 1024)
    assert pairs(list_batch_sizes(LoadOptions(), 16_384, lambda _: False)) == [(512, 512), *SMALLER]


def test_a_models_own_context_bounds_its_sizes_and_so_does_the_one_asked_for() -> None:
    engine = LlamaCppEngine()
    assert pairs(engine.sizes(GUIDE, LoadOptions()))[-1] == (2048, 2048)
    assert pairs(engine.sizes(GUIDE, LoadOptions(ctx_size=600))) == [(512, 512), *SMALLER]


@pytest.mark.parametrize(
    ("options", "batch", "micro_batch"),
    [
        (LoadOptions(), 512, 512),
        (LoadOptions(micro_batch=128), 512, 128),
        (LoadOptions(batch=256, micro_batch=1024), 256, 256),
    ],
)
def test_a_model_computes_in_passes_of_the_micro_batch(options: LoadOptions, batch: int, micro_batch: int) -> None:
    import llama_cpp as native

    model = LlamaCppEngine().load(GUIDE, options)
    assert isinstance(model, LlamaModel)
    assert model.spec.batch == batch
    assert (native.llama_n_batch(model._context), native.llama_n_ubatch(model._context)) == (batch, micro_batch)
    model.shutdown()
