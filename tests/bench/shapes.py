"""Models of a public model's shape with random weights: as fast and as large as the real thing, and nonsense to read.

uv run python -m tests.bench.shapes 0.5b folder
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from core.guide import WEIGHTS

BLOCK = 32
"""Weights in a block of Q8_0: a 16-bit scale and 32 signed bytes."""
HEADED = "mimo2"
"""A dense architecture of which llama.cpp knows heads that guess ahead."""


class BenchShape(Struct, frozen=True):
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int = 32_768


SHAPES = {
    "tiny": BenchShape(2, 128, 256, 4, 2, 4096, 2048),
    "0.1b": BenchShape(12, 768, 2048, 12, 4, 32_000, 2048),
    "0.5b": BenchShape(24, 896, 4864, 14, 2, 151_936),
    "1.5b": BenchShape(28, 1536, 8960, 12, 2, 151_936),
}
"""The largest two are those of Qwen2.5's models."""


def write(name: str, folder: Path, *, half: bool = False) -> Path:
    """A GGUF of that shape, in Q8_0 or in f16; the same file every time.

    Returns its path, and writes nothing when it is there.
    """
    return _write(SHAPES[name], folder / f"random-{name}-{'f16' if half else 'q8_0'}.gguf", half=half)


def write_speaking(name: str, folder: Path, layers: int) -> Path:
    """A model of that shape in Q8_0 of which only the first `layers` add anything; with none it repeats its last token.

    As `write` does.
    """
    return _write(SHAPES[name], folder / f"random-{name}-{layers}-speak-q8_0.gguf", silent_from=layers)


def write_layers(name: str, folder: Path, layers: int) -> Path:
    """The first `layers` of that model alone, which say the same. As `write` does."""
    shape = replace(SHAPES[name], layers=layers)
    return _write(shape, folder / f"random-{name}-{layers}-layers-q8_0.gguf")


def write_foreseeing(name: str, folder: Path, *, right: bool) -> Path:
    """A model of that shape in Q8_0 that repeats its last token, with one layer more that guesses ahead, always `right`
    or never. As `write` does."""
    path = folder / f"random-{name}-{'right' if right else 'wrong'}-head-q8_0.gguf"
    return _write(SHAPES[name], path, silent_from=0, head_right=right)


def _write(
    shape: BenchShape,
    path: Path,
    *,
    half: bool = False,
    silent_from: int | None = None,
    head_right: bool | None = None,
) -> Path:
    """With `head_right` given, behind the layers one that guesses ahead."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    headed = head_right is not None
    writer = gguf.GGUFWriter(part, HEADED if headed else "llama")
    _header(writer, shape, half=half, headed=headed)
    _tokenizer(writer, shape.vocabulary)
    random = np.random.default_rng(0)
    if headed:
        shape = replace(shape, layers=shape.layers + 1)
    embedding = np.empty(0, np.uint8)
    silent = {
        f"blk.{layer}.{last}.weight"
        for layer in range(shape.layers if silent_from is None else silent_from, shape.layers)
        for last in ("attn_output", "ffn_down")
    }
    for tensor, rows, columns in _matrices(shape, headed=headed):
        if head_right and tensor.endswith("eh_proj.weight"):
            writer.add_tensor(tensor, _identity(rows, columns), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        elif tensor in silent:
            nothing = np.zeros((rows, columns // BLOCK * (2 + BLOCK)), np.uint8)
            writer.add_tensor(tensor, nothing, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        elif half:
            values = random.normal(0, 1 / np.sqrt(columns), (rows, columns)).astype(np.float16)
            writer.add_tensor(tensor, values)
        elif tensor == "output.weight":
            writer.add_tensor(tensor, embedding, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            blocks = _blocks(random, rows, columns)
            embedding = blocks if tensor == "token_embd.weight" else embedding
            writer.add_tensor(tensor, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for tensor in _norms(shape, headed=headed):
        writer.add_tensor(tensor, np.ones(shape.width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return part.rename(path)


def _header(writer: gguf.GGUFWriter, shape: BenchShape, *, half: bool, headed: bool) -> None:
    writer.add_name("random")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers + headed)
    if headed:
        writer.add_nextn_predict_layers(1)
        writer.add_expert_count(0)
        writer.add_expert_feed_forward_length(shape.hidden)
        # It wants some layer with a window.
        writer.add_sliding_window(shape.context)
        writer.add_sliding_window_pattern([True] + [False] * shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_key_length(shape.width // shape.heads)
    writer.add_value_length(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.MOSTLY_Q8_0)


def _tokenizer(writer: gguf.GGUFWriter, size: int) -> None:
    """The built-in model's vocabulary, filled up with tokens that no text gives."""
    fields = gguf.GGUFReader(WEIGHTS).fields
    tokens = list(fields["tokenizer.ggml.tokens"].contents())
    types = list(fields["tokenizer.ggml.token_type"].contents())
    filler = size - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(fields["tokenizer.ggml.pre"].contents())
    writer.add_token_list(tokens + [f"filler{number}" for number in range(filler)])
    writer.add_token_types(types + [gguf.TokenType.NORMAL] * filler)
    writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_eos_token_id(fields["tokenizer.ggml.eos_token_id"].contents())
    writer.add_chat_template(fields["tokenizer.chat_template"].contents())


def _matrices(shape: BenchShape, *, headed: bool) -> list[tuple[str, int, int]]:
    """(name, rows, columns) of every quantized tensor; the embedding serves as the output too, save where there is a
    head that guesses ahead, which is the last layer then."""
    kv_width = shape.width // shape.heads * shape.kv_heads
    found = [("token_embd.weight", shape.vocabulary, shape.width)]
    if headed:
        last = f"blk.{shape.layers - 1}"
        found.append(("output.weight", shape.vocabulary, shape.width))
        found.append((f"{last}.nextn.eh_proj.weight", shape.width, 2 * shape.width))
        found.append((f"{last}.attn_qkv.weight", shape.width + 2 * kv_width, shape.width))
    for layer in range(shape.layers):
        if not (headed and layer == shape.layers - 1):
            found += [
                (f"blk.{layer}.attn_q.weight", shape.width, shape.width),
                (f"blk.{layer}.attn_k.weight", kv_width, shape.width),
                (f"blk.{layer}.attn_v.weight", kv_width, shape.width),
            ]
        found += [
            (f"blk.{layer}.attn_output.weight", shape.width, shape.width),
            (f"blk.{layer}.ffn_gate.weight", shape.hidden, shape.width),
            (f"blk.{layer}.ffn_up.weight", shape.hidden, shape.width),
            (f"blk.{layer}.ffn_down.weight", shape.width, shape.hidden),
        ]
    return found


def _norms(shape: BenchShape, *, headed: bool) -> list[str]:
    names = ["output_norm.weight"]
    if headed:
        names += [f"blk.{shape.layers - 1}.nextn.{name}norm.weight" for name in ("e", "h")]
    for layer in range(shape.layers):
        names += [f"blk.{layer}.attn_norm.weight", f"blk.{layer}.ffn_norm.weight"]
    return names


def _identity(rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Q8_0 blocks of ones on the diagonal and zeros elsewhere."""
    weights = np.zeros((rows, columns), np.int8)
    np.fill_diagonal(weights, 64)
    blocks = np.empty((rows * columns // BLOCK, 2 + BLOCK), np.uint8)
    blocks[:, :2] = np.frombuffer(np.float16(1 / 64).tobytes(), np.uint8)
    blocks[:, 2:] = weights.reshape(-1, BLOCK).view(np.uint8)
    return blocks.reshape(rows, -1)


def _blocks(random: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Q8_0 blocks of normally distributed weights with the variance of a usual initialisation."""
    count = rows * columns // BLOCK
    blocks = np.empty((count, 2 + BLOCK), np.uint8)
    scale = np.float16(1.0 / np.sqrt(columns) / 40)
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    weights = np.clip(random.normal(0, 40, (count, BLOCK)), -127, 127).astype(np.int8)
    blocks[:, 2:] = weights.view(np.uint8)
    return blocks.reshape(rows, -1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(write(arguments.shape, arguments.folder))
