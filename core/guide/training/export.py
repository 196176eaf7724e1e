"""Writes guide as GGUF: llama architecture, f16 matrices, f32 norms, tied embeddings, a GPT-2 style tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from core.guide.training.corpus import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS


@dataclass(frozen=True)
class GuideHeader:
    """What GGUF says about a llama model; names follow the keys of the GGUF specification."""

    context_length: int
    embedding_length: int
    block_count: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    head_width: int
    rope_base: float
    epsilon: float
    parameters: int


def write_gguf(
    path: Path,
    header: GuideHeader,
    tensors: Mapping[str, NDArray[np.float32]],
    tokens: tuple[str, ...],
    merges: tuple[str, ...],
) -> None:
    """Write the file through a temporary one; `tensors` carries GGUF names and float32 values."""
    temporary = path.with_suffix(".part")
    writer = gguf.GGUFWriter(temporary, "llama")
    _describe(writer, header)
    _write_header(writer, header, len(tokens))
    _write_tokenizer(writer, tokens, merges)
    for name, values in tensors.items():
        writer.add_tensor(name, values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(path)


def _describe(writer: gguf.GGUFWriter, header: GuideHeader) -> None:
    writer.add_type("model")
    writer.add_name("guide")
    writer.add_basename("guide")
    writer.add_author("The benchtop authors")
    writer.add_description("The built-in model of benchtop: short answers about local inference and the workbench.")
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    writer.add_size_label(f"{header.parameters / 1e6:.1f}M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    # It knows facts, not styles: the likeliest token is the right one. Engines read this as the recommended sampling.
    writer.add_float32("general.sampling.temp", 0.0)


def _write_header(writer: gguf.GGUFWriter, header: GuideHeader, vocabulary: int) -> None:
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(header.context_length)
    writer.add_embedding_length(header.embedding_length)
    writer.add_block_count(header.block_count)
    writer.add_feed_forward_length(header.feed_forward_length)
    writer.add_head_count(header.head_count)
    writer.add_head_count_kv(header.head_count_kv)
    writer.add_key_length(header.head_width)
    writer.add_value_length(header.head_width)
    writer.add_rope_dimension_count(header.head_width)
    writer.add_rope_freq_base(header.rope_base)
    writer.add_layer_norm_rms_eps(header.epsilon)


def _write_tokenizer(writer: gguf.GGUFWriter, tokens: tuple[str, ...], merges: tuple[str, ...]) -> None:
    types = [gguf.TokenType.CONTROL if token in SPECIAL_TOKENS else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(tokens))
    writer.add_token_types(types)
    writer.add_token_merges(list(merges))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(PAD))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
