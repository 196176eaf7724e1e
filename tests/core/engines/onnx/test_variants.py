"""Graphs of other shapes than the one that to_onnx writes."""

from pathlib import Path
from random import Random

import pytest

from core.contract.step import SequenceId, Work
from core.engines.onnx.batching import Batching
from core.engines.onnx.model import OnnxModel
from core.requests import Sampling
from tests.core.engines.onnx.conftest import load
from tests.core.engines.onnx.fused import fuse, halve, to_four_bits
from tests.core.engines.onnx.test_batching import GREEDY, continued

PROMPT = list(range(40, 60))


@pytest.fixture
def fused(folder: Path) -> OnnxModel:
    return load(fuse(folder))


def test_fused_attention_says_what_plain_attention_says(fused: OnnxModel, model: OnnxModel) -> None:
    assert continued(fused, question(model), 24) == continued(model, question(model), 24)


def test_fused_attention_is_batched_with_padding_behind(fused: OnnxModel) -> None:
    assert fused._batching is Batching.TRAILING
    prompts = ([*PROMPT, 7], [*PROMPT, 9], [*PROMPT[5:], 9])
    alone = [continued(fused, prompt, 3) for prompt in prompts]
    sequences = [fused.open(GREEDY) for _ in prompts]
    for sequence, prompt in zip(sequences, prompts, strict=True):
        fused.step([Work(sequence, prompt[:-1], sample=False)])
    drawn: list[list[int]] = [[] for _ in prompts]
    pending = [prompt[-1:] for prompt in prompts]
    for _ in range(3):
        steps = fused.step([Work(s, tokens, sample=True) for s, tokens in zip(sequences, pending, strict=True)])
        pending = [list(step.tokens) for step in steps]
        for all_of_it, step in zip(drawn, steps, strict=True):
            all_of_it.extend(step.tokens)
    assert drawn == alone


def test_fused_attention_prefills_in_chunks_and_verifies_drafts(fused: OnnxModel) -> None:
    expected = continued(fused, PROMPT, 6)
    sequence = fused.open(GREEDY)
    fused.step([Work(sequence, PROMPT[:7], sample=False)])
    (step,) = fused.step([Work(sequence, PROMPT[7:], sample=True)])
    assert list(step.tokens) == expected[:1]
    (step,) = fused.step([Work(sequence, expected[:1], sample=True, draft=[*expected[1:3], expected[3] + 1, 5])])
    assert list(step.tokens) == expected[1:4]
    (step,) = fused.step([Work(sequence, expected[3:4], sample=True)])
    assert list(step.tokens) == expected[4:5]


def test_half_precision_keeps_its_cache_in_half_precision(folder: Path, model: OnnxModel) -> None:
    half = load(halve(folder))
    assert half.spec.quantization == "fp16"
    assert half.spec.kv_bytes_per_token * 2 == model.spec.kv_bytes_per_token
    sequence = half.open(Sampling(temperature=0.0, logprobs=3))
    (step,) = half.step([Work(sequence, PROMPT, sample=True)])
    assert list(step.tokens) == continued(model, PROMPT, 1)
    restored = half.restore(half.save(sequence), GREEDY)
    assert half.step([Work(restored, step.tokens, sample=True)])[0].tokens == tuple(continued(half, PROMPT, 2)[1:])


def test_blocks_of_four_bits_run_and_are_batched(folder: Path) -> None:
    model = load(to_four_bits(folder))
    assert model.spec.quantization == "q4"
    assert model._batching is Batching.LEADING
    assert any("fp32" in note for note in model.spec.notes)
    text = b"".join(model.tokenizer.piece(token) for token in continued(model, question(model), 12))
    assert b"cache" in text


def test_eight_bits_whose_scale_spans_the_batch_are_not_batched(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    path = folder / "onnx" / "model_quantized.onnx"
    quantize_dynamic(str(folder / "onnx" / "model.onnx"), str(path), weight_type=QuantType.QInt8)
    model = load(path)
    assert model._batching is Batching.NONE
    text = b"".join(model.tokenizer.piece(token) for token in continued(model, question(model), 12))
    assert b"cache" in text


def question(model: OnnxModel) -> list[int]:
    text = "<|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n"
    return model.tokenizer.encode(text, special=True)


def lengthen(model: OnnxModel, held: dict[SequenceId, list[int]], random: Random) -> None:
    some = random.sample(list(held), random.randint(1, len(held)))
    token = random.randrange(3, 2000)
    model.step([Work(sequence, [token], sample=False) for sequence in some])
    for sequence in some:
        held[sequence].append(token)


@pytest.mark.parametrize("kind", ["plain", "fused"])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_done_to_a_sequence_it_says_what_a_fresh_one_says(kind: str, seed: int, folder: Path) -> None:
    model = load(fuse(folder) if kind == "fused" else folder)
    random = Random(seed)
    held: dict[SequenceId, list[int]] = {}
    for _ in range(60):
        act = random.choice(("open", "open", "fork", "trim", "close", "save", "step", "step", "step", "step"))
        chosen = random.choice(list(held)) if held else None
        if act == "open" and len(held) < 6:
            sequence = model.open(GREEDY)
            held[sequence] = [random.randrange(3, 2000) for _ in range(random.randint(1, 12))]
            model.step([Work(sequence, held[sequence], sample=False)])
        elif chosen is None:
            continue
        elif act == "fork" and len(held) < 6:
            length = random.randint(0, len(held[chosen]))
            held[model.fork(chosen, length, GREEDY)] = held[chosen][:length]
        elif act == "trim":
            del held[chosen][random.randint(0, len(held[chosen])) :]
            model.trim(chosen, len(held[chosen]))
        elif act == "close":
            model.close(chosen)
            del held[chosen]
        elif act == "save":
            held[model.restore(model.save(chosen), GREEDY)] = held.pop(chosen)
            model.close(chosen)
        elif act == "step":
            lengthen(model, held, random)
    steps = model.step([Work(sequence, [5], sample=True) for sequence in held])
    for tokens, step in zip(held.values(), steps, strict=True):
        assert list(step.tokens) == continued(model, [*tokens, 5], 1)
