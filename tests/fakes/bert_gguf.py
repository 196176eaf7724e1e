"""The small BERT of `tests.fakes.bert` as a GGUF file, with a head that ranks where one is wanted."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.fakes.bert import CLS, EPSILON, HEADS, INNER, LAYERS, PAD, POSITIONS, SEP, UNK, WIDTH, WORDS, Weights

NUMBERS = {"mean": 1, "cls": 2, "last": 3, "rank": 4}
"""llama.cpp's for the ways of pooling."""
NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    "bert.pooler.dense": "cls",
    "classifier": "cls.output",
}


def write_gguf(path: Path, weights: Weights, *, pooling: str | None = "mean", labels: int = 0) -> Path:
    """`pooling` as the header tells it; None leaves it out. With several `labels` so many classes are named."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_uint32("bert.pooling_type", NUMBERS[pooling])
    if labels > 1:
        writer.add_array("bert.classifier.output_labels", [f"label {number}" for number in range(labels)])
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list([_write_word(index, word) for index, word in enumerate(WORDS)])
    writer.add_token_types([3 if index < 5 else 1 for index in range(len(WORDS))])
    writer.add_unk_token_id(UNK)
    writer.add_sep_token_id(SEP)
    writer.add_pad_token_id(PAD)
    writer.add_bos_token_id(CLS)
    writer.add_eos_token_id(SEP)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_bool("tokenizer.ggml.add_sep_token", False)
    for name, tensor in weights.items():
        writer.add_tensor(_rename(name), np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_word(index: int, word: str) -> str:
    """As llama.cpp has the words of such a vocabulary: those that begin one have a mark."""
    if index < 5:
        return word
    return word.removeprefix("##") if word.startswith("##") else f"\u2581{word}"


def _rename(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.startswith("encoder.layer."):
        layer, _, part = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{layer}.{NAMES[part]}.{kind}"
    return f"{NAMES.get(stem, stem)}.{kind}"
