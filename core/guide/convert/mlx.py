"""Writes guide, from its GGUF file, as a folder that mlx-lm and transformers read.

The layouts differ in one place: GGUF's llama tensors keep the two halves of a rotary pair side by side, the other
layout keeps all first halves before all second ones. Everything else is renamed and copied; no value is rounded.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from core.guide import WEIGHTS

TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's names of a llama model's tensors, and the names they have beside a config.json."""

Array = npt.NDArray[Any]


class LlamaHeader:
    """The key-value pairs of a GGUF file of llama architecture."""

    def __init__(self, reader: gguf.GGUFReader) -> None:
        self._reader = reader

    def get(self, key: str, default: Any = None) -> Any:
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def llama(self, key: str, default: Any = None) -> Any:
        return self.get(f"llama.{key}", default)


def write_model(folder: Path, source: Path = WEIGHTS) -> Path:
    """Write config.json, model.safetensors, tokenizer.json, tokenizer_config.json and generation_config.json.

    Raises ValueError when `source` is not of llama architecture with a byte-level BPE vocabulary and f16 or f32
    tensors.
    """
    from safetensors.numpy import save_file

    reader = gguf.GGUFReader(source)
    header = LlamaHeader(reader)
    if header.get("general.architecture") != "llama" or header.get("tokenizer.ggml.model") != "gpt2":
        raise ValueError(f"{source} is not a llama model with a byte-level BPE vocabulary.")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_name(tensor.name): _values(tensor, header) for tensor in reader.tensors}
    save_file(tensors, folder / "model.safetensors", {"format": "mlx"})
    _write_json(folder / "config.json", build_config(header, tied="lm_head.weight" not in tensors))
    _write_json(folder / "tokenizer_config.json", build_tokenizer_config(header))
    _write_json(folder / "generation_config.json", {"eos_token_id": [header.get("tokenizer.ggml.eos_token_id")]})
    write_tokenizer(folder / "tokenizer.json", header)
    return folder


def build_config(header: LlamaHeader, *, tied: bool) -> dict[str, Any]:
    """What transformers calls the configuration of a LlamaForCausalLM."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float16",
        "vocab_size": len(header.get("tokenizer.ggml.tokens")),
        "hidden_size": header.llama("embedding_length"),
        "intermediate_size": header.llama("feed_forward_length"),
        "num_hidden_layers": header.llama("block_count"),
        "num_attention_heads": header.llama("attention.head_count"),
        "num_key_value_heads": header.llama("attention.head_count_kv"),
        "head_dim": header.llama("attention.key_length"),
        "max_position_embeddings": header.llama("context_length"),
        "rms_norm_eps": header.llama("attention.layer_norm_rms_epsilon"),
        "rope_theta": header.llama("rope.freq_base"),
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "eos_token_id": header.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": header.get("tokenizer.ggml.padding_token_id"),
    }


def build_tokenizer_config(header: LlamaHeader) -> dict[str, Any]:
    tokens = header.get("tokenizer.ggml.tokens")
    ends, pads = header.get("tokenizer.ggml.eos_token_id"), header.get("tokenizer.ggml.padding_token_id")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(header.get("tokenizer.ggml.add_bos_token", False)),
        "eos_token": tokens[ends],
        "pad_token": None if pads is None else tokens[pads],
        "model_max_length": header.llama("context_length"),
        "clean_up_tokenization_spaces": False,
        "chat_template": header.get("tokenizer.chat_template"),
    }


def unpermute_rows(rows: Array, heads: int) -> Array:
    """Rows (heads * width, columns) of a projection whose rotary pairs are neighbours, with the pairs' halves apart.

    The inverse of `permute` in llama.cpp's convert_hf_to_gguf.py.
    """
    width = rows.shape[0] // heads
    return rows.reshape(heads, width // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _name(name: str) -> str:
    """`blk.0.attn_q.weight` becomes `model.layers.0.self_attn.q_proj.weight`."""
    *block, tensor, suffix = name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{TENSORS[tensor]}.{suffix}"


def _values(tensor: gguf.ReaderTensor, header: LlamaHeader) -> Array:
    kinds = gguf.GGMLQuantizationType
    if tensor.tensor_type not in (kinds.F16, kinds.F32):
        raise ValueError(f"The tensor {tensor.name} is {tensor.tensor_type.name}; only F16 and F32 can be copied.")
    values: Array = tensor.data
    if ".attn_q." in tensor.name:
        values = unpermute_rows(values, header.llama("attention.head_count"))
    elif ".attn_k." in tensor.name:
        values = unpermute_rows(values, header.llama("attention.head_count_kv"))
    # A copy: the reader's arrays are windows on the file.
    return np.array(values, order="C")


def write_tokenizer(path: Path, header: LlamaHeader) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = header.get("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in header.get("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = header.get("tokenizer.ggml.token_type")
    controls = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in controls])
    tokenizer.save(str(path))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m core.guide.convert.mlx", description="Write guide as an MLX folder."
    )
    parser.add_argument("folder", type=Path)
    print(write_model(parser.parse_args().folder))


if __name__ == "__main__":
    main()
