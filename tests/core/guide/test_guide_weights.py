"""The shipped weights of guide: small, well described, and really able to answer."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from gguf import GGUFReader, TokenType

from core.guide import WEIGHTS
from core.guide.training.corpus import CHAT_TEMPLATE, SPECIAL_TOKENS, build_prompt, load_facts


@pytest.fixture(scope="module")
def reader() -> GGUFReader:
    return GGUFReader(WEIGHTS)


@pytest.fixture(scope="module")
def value(reader: GGUFReader) -> Callable[[str], Any]:
    def read(key: str) -> Any:
        field = reader.get_field(key)
        assert field is not None, key
        return field.contents()

    return read


def test_the_file_is_smaller_than_eight_megabytes() -> None:
    assert WEIGHTS.stat().st_size < 8_000_000


def test_there_are_fewer_than_four_million_parameters(reader: GGUFReader) -> None:
    assert 0 < sum(math.prod(int(n) for n in tensor.shape) for tensor in reader.tensors) < 4_000_000


def test_matrices_are_f16_and_norms_f32(reader: GGUFReader) -> None:
    for tensor in reader.tensors:
        assert tensor.tensor_type.name == ("F32" if len(tensor.shape) == 1 else "F16"), tensor.name


def test_the_embedding_is_the_output_too(reader: GGUFReader) -> None:
    assert "output.weight" not in {tensor.name for tensor in reader.tensors}


def test_rows_can_be_quantized_in_blocks_of_256(reader: GGUFReader) -> None:
    assert [tensor.name for tensor in reader.tensors if len(tensor.shape) > 1 and tensor.shape[0] % 256] == []


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("general.architecture", "llama"),
        ("general.name", "guide"),
        ("general.license", "apache-2.0"),
        ("general.file_type", 1),
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", "gpt-2"),
        ("tokenizer.ggml.add_bos_token", False),
        ("tokenizer.chat_template", CHAT_TEMPLATE),
    ],
)
def test_the_header_says(value: Callable[[str], Any], key: str, expected: object) -> None:
    assert value(key) == expected


def test_the_context_is_at_least_2048_tokens(value: Callable[[str], Any]) -> None:
    assert value("llama.context_length") >= 2048


def test_control_tokens_are_typed_and_the_answer_ends_with_im_end(value: Callable[[str], Any]) -> None:
    tokens, types = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == TokenType.CONTROL]
    assert control == list(SPECIAL_TOKENS)
    assert tokens[value("tokenizer.ggml.eos_token_id")] == "<|im_end|>"
    assert len(tokens) == len(set(tokens)) == value("llama.vocab_size")


def test_importing_the_package_loads_no_training_code() -> None:
    code = "import sys, core.guide; print([m for m in ('torch', 'tokenizers', 'gguf', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_it_knows_what_a_kv_cache_is() -> None:
    pytest.importorskip("llama_cpp")
    from core.guide.training.evaluate import build_llamacpp_answerer

    answer = build_llamacpp_answerer(WEIGHTS, threads=2)
    known = {fact.id: fact.answer for fact in load_facts()}
    assert answer(build_prompt("What is a KV cache?")) == known["kv-cache"]
    assert answer(build_prompt("which quant should I take?", earlier=[("hi", known["hello"])])) == known["which-quant"]
