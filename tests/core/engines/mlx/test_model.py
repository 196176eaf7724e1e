"""What the contract suite does not see: quantization, hybrid caches, sharing, computing ahead, threads."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from msgspec.structs import replace

from core.contract.models import TokenModel, Trims
from core.contract.options import KvType
from core.contract.step import Work
from core.engines.mlx.trimming import TrimmingMlxModel
from core.errors import EngineError, Interrupted
from core.requests import Sampling
from tests.contract.test_token_model import GREEDY, QUESTION, continue_with, feed, generate, prompt_of
from tests.core.engines.mlx.conftest import OPTIONS, Load


def in_turns(model: TokenModel, prompts: list[list[int]], count: int) -> list[list[int]]:
    """All prompts in common steps."""
    sequences = [model.open(GREEDY, prompt) for prompt in prompts]
    pending = [list(prompt) for prompt in prompts]
    drawn: list[list[int]] = [[] for _ in prompts]
    for _ in range(count):
        steps = model.step([Work(s, tokens, sample=True) for s, tokens in zip(sequences, pending, strict=True)])
        pending = [list(step.tokens) for step in steps]
        for all_of_it, step in zip(drawn, steps, strict=True):
            all_of_it.extend(step.tokens)
    for sequence in sequences:
        model.close(sequence)
    return drawn


def questions(model: TokenModel) -> list[list[int]]:
    return [prompt_of(model, QUESTION.replace("KV cache", word)) for word in ("KV cache", "token", "GGUF file")]


@pytest.mark.parametrize("kv_type", [KvType.Q8_0, KvType.Q4_0])
def test_a_quantized_kv_cache_forks_trims_and_comes_back(load: Load, guide: Path, kv_type: KvType) -> None:
    model = load(guide, replace(OPTIONS, kv_type=kv_type))
    assert model.spec.kv_bytes_per_token < load(guide).spec.kv_bytes_per_token
    prompt = prompt_of(model)
    expected = generate(model, prompt, 12)
    first = model.open(GREEDY, prompt)
    drawn = continue_with(model, first, prompt, 4)
    second = model.restore(model.save(first), GREEDY)
    third = model.fork(first, len(prompt) - 1, GREEDY)
    model.trim(first, len(prompt) - 1)
    assert drawn + continue_with(model, second, drawn[-1:], 8) == expected
    assert continue_with(model, third, prompt[-1:], 12) == expected
    assert continue_with(model, first, prompt[-1:], 12) == expected


def test_eight_bits_of_kv_hardly_change_what_is_said(load: Load, guide: Path) -> None:
    exact, quantized = load(guide), load(guide, replace(OPTIONS, kv_type=KvType.Q8_0))
    prompt = prompt_of(exact)
    assert generate(quantized, prompt, 12) == generate(exact, prompt, 12)


def test_quantized_weights_run(load: Load, variant: Callable[..., Path]) -> None:
    from mlx.nn.layers.quantized import quantize
    from mlx.utils import tree_flatten

    from core.engines.mlx.library import utils

    folder = variant()
    network, _ = utils.load_model(folder)
    quantize(network, group_size=64, bits=8)
    folder = _changed(folder, quantization={"group_size": 64, "bits": 8})
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
    model = load(folder)
    assert model.spec.quantization == "8-bit"
    prompts = questions(model)
    assert in_turns(model, prompts, 8) == [generate(model, prompt, 8) for prompt in prompts]


@pytest.mark.parametrize("element", ["float16", "bfloat16"])
def test_halves_run(load: Load, variant: Callable[..., Path], element: str) -> None:
    folder = variant(torch_dtype=element)
    file = str(folder / "model.safetensors")
    arrays = mx.load(file)
    assert isinstance(arrays, dict)
    arrays = {name: array.astype(getattr(mx, element)) for name, array in arrays.items()}
    mx.eval(arrays)
    mx.save_safetensors(file, arrays)
    model = load(folder)
    assert len(generate(model, prompt_of(model), 6)) == 6


class TestHybrid:
    """guide with a sliding window in every second layer: mlx-lm keeps rotating caches for it, which cannot be cut."""

    @pytest.fixture
    def model(self, load: Load, variant: Callable[..., Path]) -> Any:
        return load(variant(layer_types=["full_attention", "sliding_attention"] * 2, sliding_window=16))

    def test_it_offers_neither_fork_nor_trim(self, model: TokenModel) -> None:
        assert not isinstance(model, Trims)
        assert model.spec.sequences == model.spec.slots + 1

    def test_sequences_in_one_batch_do_not_mix(self, model: TokenModel) -> None:
        prompts = questions(model)
        assert in_turns(model, prompts, 10) == [generate(model, prompt, 10) for prompt in prompts]

    def test_a_saved_sequence_goes_on_where_it_was(self, model: TokenModel) -> None:
        prompt = prompt_of(model)
        whole = generate(model, prompt, 10)
        sequence = model.open(GREEDY, prompt)
        drawn = continue_with(model, sequence, prompt, 4)
        data = model.save(sequence)
        model.close(sequence)
        restored = model.restore(data, GREEDY)
        assert drawn + continue_with(model, restored, drawn[-1:], 6) == whole

    def test_damaged_and_foreign_states_are_refused(self, model: TokenModel, load: Load, guide: Path) -> None:
        other = load(guide)
        prompt = prompt_of(model)
        states = []
        for each in (model, other):
            sequence = each.open(GREEDY)
            feed(each, sequence, prompt)
            states.append(each.save(sequence))
        for each, own, foreign in ((model, states[0], states[1]), (other, states[1], states[0])):
            wrong_byte, wrong_length = own[:200] + b"\0" + own[201:], own[:4] + b"\1\0\0\0" + own[8:]
            for damaged in (own[:-1], wrong_byte, wrong_length, foreign):
                with pytest.raises(EngineError):
                    each.restore(damaged, GREEDY)

    def test_guesses_are_let_be(self, model: TokenModel) -> None:
        prompt = prompt_of(model)
        expected = generate(model, prompt, 4)
        sequence = model.open(GREEDY)
        first = feed(model, sequence, prompt)
        (step,) = model.step([Work(sequence, [first], sample=True, draft=expected[1:3])])
        assert list(step.tokens) == expected[1:2]


def test_recurrent_models_run_in_batches_too(load: Load, mamba: Path) -> None:
    model = load(mamba)
    assert not isinstance(model, Trims)
    prompts = questions(model)
    assert in_turns(model, prompts, 8) == [generate(model, prompt, 8) for prompt in prompts]


def test_forks_share_what_they_have_in_common(load: Load, guide: Path) -> None:
    model: TrimmingMlxModel = load(guide)
    prompt = prompt_of(model)
    parent = model.open(GREEDY)
    feed(model, parent, prompt)
    children = [model.fork(parent, len(prompt), GREEDY) for _ in range(20)]
    shared = model._sequences[parent].segments[0]
    assert all(model._sequences[child].segments[0] is shared for child in children)
    for child in children:
        feed(model, child, [5])
    at_work = [each for each in model._sequences.values() if each.caches is not None]
    assert len(at_work) <= model.spec.slots
    assert all(model._sequences[child].segments[0] is shared for child in children)


def test_a_sequence_that_rested_goes_on_as_if_it_had_not(load: Load, guide: Path) -> None:
    model = load(guide)
    prompt = prompt_of(model)
    expected = generate(model, prompt, 10)
    first = model.open(GREEDY)
    drawn = continue_with(model, first, prompt, 5)
    for _ in range(model.spec.slots + 1):
        feed(model, model.open(GREEDY), prompt)
    assert drawn + continue_with(model, first, drawn[-1:], 5) == expected


def test_joining_and_leaving_a_batch_changes_nobodys_tokens(load: Load, guide: Path) -> None:
    model = load(guide)
    prompts = questions(model)
    expected = [generate(model, prompt, 12) for prompt in prompts]
    first, second, third = (model.open(GREEDY) for _ in prompts)
    drawn = {first: [feed(model, first, prompts[0])], second: [feed(model, second, prompts[1])], third: []}

    def go_on(*who: Any) -> None:
        steps = model.step([Work(each, drawn[each][-1:], sample=True) for each in who])
        for each, step in zip(who, steps, strict=True):
            drawn[each] += step.tokens

    go_on(first, second)
    go_on(first, second)
    go_on(second)
    drawn[third].append(feed(model, third, prompts[2]))
    go_on(third, first, second)
    go_on(first, third)
    go_on(first)
    for each, whole in zip((first, second, third), expected, strict=True):
        assert drawn[each] == whole[: len(drawn[each])]


def test_sequences_that_took_turns_may_go_on_together(load: Load, guide: Path) -> None:
    """Each turn begins a pass ahead, of which the other's turn must leave no trace."""
    model = load(guide)
    prompts = questions(model)[:2]
    expected = [generate(model, prompt, 6) for prompt in prompts]
    sequences = [model.open(GREEDY) for _ in prompts]
    drawn = [[feed(model, sequence, prompt)] for sequence, prompt in zip(sequences, prompts, strict=True)]
    for _ in range(2):
        for sequence, tokens in zip(sequences, drawn, strict=True):
            tokens.append(feed(model, sequence, tokens[-1:]))
    while len(drawn[0]) < 6:
        steps = model.step([Work(s, d[-1:], sample=True) for s, d in zip(sequences, drawn, strict=True)])
        drawn = [[*before, *step.tokens] for before, step in zip(drawn, steps, strict=True)]
    assert drawn == expected


def test_a_token_other_than_the_one_drawn_may_follow(load: Load, guide: Path) -> None:
    """The pass over the token drawn has begun by then, and must leave no trace."""
    model = load(guide)
    prompt = prompt_of(model)
    other = [*prompt, 7]
    expected = generate(model, other, 6)
    sequence = model.open(GREEDY)
    feed(model, sequence, prompt)
    assert continue_with(model, sequence, [7], 6) == expected


def test_sampled_sequences_draw_the_same_alone_and_in_a_batch(load: Load, guide: Path) -> None:
    model = load(guide)
    prompt = prompt_of(model)
    alone = [generate(model, prompt, 10, Sampling(temperature=1.5, seed=seed)) for seed in (1, 2)]
    sequences = [model.open(Sampling(temperature=1.5, seed=seed)) for seed in (1, 2)]
    drawn: list[list[int]] = [[], []]
    pending = [prompt, prompt]
    for _ in range(10):
        steps = model.step([Work(s, p, sample=True) for s, p in zip(sequences, pending, strict=True)])
        pending = [list(step.tokens) for step in steps]
        drawn = [[*before, *step.tokens] for before, step in zip(drawn, steps, strict=True)]
    assert drawn == alone


def test_an_interrupt_between_two_layers_can_be_taken_back(load: Load, guide: Path) -> None:
    model: TrimmingMlxModel = load(guide)
    prompt = prompt_of(model)
    expected = generate(model, prompt, 6)
    sequence = model.open(GREEDY)
    model.step([Work(sequence, prompt[:2], sample=False)])
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 4:
            raise Interrupted("now")

    for cache in model._alone(sequence):
        cache.watch = look
    with pytest.raises(Interrupted):
        model.step([Work(sequence, (prompt * 5)[2:200], sample=False)])
    assert len({cache.offset for cache in model._alone(sequence)}) > 1
    model.trim(sequence, 2)
    for cache in model._alone(sequence):
        cache.watch = lambda: None
    assert continue_with(model, sequence, prompt[2:], 6) == expected


def test_a_model_lives_on_the_thread_that_loads_it(guide: Path, load: Load) -> None:
    expected = generate(load(guide), prompt_of(load(guide)), 8)
    found: list[list[int]] = []

    def run() -> None:
        model = load(guide)
        found.append(generate(model, prompt_of(model), 8))
        model.shutdown()

    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert found == [expected, expected]


def _changed(folder: Path, **changes: object) -> Path:
    import json

    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder
