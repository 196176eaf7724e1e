"""The built-in model as a folder of safetensors."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from core.guide import WEIGHTS
from core.guide.convert.mlx import unpermute_rows, write_model


def test_rotary_halves_are_taken_apart_head_by_head() -> None:
    rows = np.arange(8)[:, None]
    assert unpermute_rows(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_nothing_is_rounded_and_nothing_left_out(tmp_path: Path) -> None:
    import gguf

    folder = write_model(tmp_path / "guide")
    tensors = load_file(folder / "model.safetensors")
    source = gguf.GGUFReader(WEIGHTS).tensors
    assert len(tensors) == len(source)
    ours, theirs = tensors.values(), [tensor.data for tensor in source]
    assert np.isclose(*(sum(np.abs(each.astype(np.float64)).sum() for each in all_) for all_ in (ours, theirs)))
    config = json.loads((folder / "config.json").read_text())
    assert tensors["model.embed_tokens.weight"].shape == (config["vocab_size"], config["hidden_size"])


def test_the_tokenizer_cuts_text_as_llama_cpp_does(tmp_path: Path) -> None:
    import llama_cpp as native
    from tokenizers import Tokenizer

    from core.engines.llamacpp.tokenizer import LlamaTokenizer

    tokenizer = Tokenizer.from_file(str(write_model(tmp_path) / "tokenizer.json"))
    parameters = native.llama_model_default_params()
    parameters.vocab_only = True
    model = native.llama_model_load_from_file(str(WEIGHTS).encode(), parameters)
    assert model is not None
    reference = LlamaTokenizer(model)
    for text in ("What is a KV cache?", "  two  spaces\n\n", "naïve 日本語 🙂", "don't 12345", "<|im_start|>user\n"):
        assert tokenizer.encode(text).ids == reference.encode(text, special=True), text
    native.llama_model_free(model)
