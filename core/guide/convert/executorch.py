# mypy: ignore-errors
# Why: torch and executorch are no dependencies of the product, so the type checker cannot see them.
"""Writes guide as an executorch program, with its tokenizer and chat template beside it.

    python -m core.guide.convert.executorch FOLDER

All is derived from the GGUF file. The program has one method, `forward(tokens (1, n), positions (n))`, which gives the
logits of the last token and keeps the KV cache in buffers of its own, and the constant methods that executorch's own
runner for language models asks: see `get_llm_metadata` in its extension/llm/runner. Matrices are float32, in XNNPACK's
kernels. It needs torch and executorch, which the product does not: run it where they are installed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import ExecutorchProgramManager, to_edge_transform_and_lower
from torch import Tensor, nn
from torch.nn import functional

from core.guide import WEIGHTS
from core.guide.convert.mlx import LlamaHeader, build_tokenizer_config, write_tokenizer
from core.guide.training.network import Attention, FeedForward, GuideShape, Norm, compute_rope_angles, rotate_pairs

NAMES = {
    "attention_norm": "attn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.output": "attn_output",
    "feed_norm": "ffn_norm",
    "feed.gate": "ffn_gate",
    "feed.up": "ffn_up",
    "feed.down": "ffn_down",
}
"""Of a block's parameters here, and in GGUF."""


class CachedAttention(Attention):
    """Attention over all positions so far, which are kept in two buffers (1, context, kv_heads, head_width)."""

    def __init__(self, shape: GuideShape) -> None:
        super().__init__(shape)
        size = (1, shape.context, shape.kv_heads, shape.head_width)
        self.register_buffer("keys", torch.zeros(size), persistent=False)
        self.register_buffer("values", torch.zeros(size), persistent=False)

    def forward(self, x: Tensor, angles: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        """`seen` (n, context) says which positions each of the n tokens attends to."""
        length, shape = x.shape[1], self.shape
        share = shape.heads // shape.kv_heads
        q = rotate_pairs(self.q(x).view(1, length, shape.heads, shape.head_width), angles)
        k = rotate_pairs(self.k(x).view(1, length, shape.kv_heads, shape.head_width), angles)
        self.keys[:, positions] = k
        self.values[:, positions] = self.v(x).view(1, length, shape.kv_heads, shape.head_width)
        keys = self.keys.transpose(1, 2).repeat_interleave(share, dim=1)
        # Places never written hold whatever the memory did, and a NaN would get through a weight of zero.
        written = self.values.masked_fill(~seen[-1][None, :, None, None], 0.0)
        values = written.transpose(1, 2).repeat_interleave(share, dim=1)
        scores = q.transpose(1, 2) @ keys.transpose(2, 3) * shape.head_width**-0.5
        weights = functional.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1)
        return self.output((weights @ values).transpose(1, 2).reshape(1, length, -1))


class CachedBlock(nn.Module):
    def __init__(self, shape: GuideShape) -> None:
        super().__init__()
        self.attention_norm, self.attention = Norm(shape), CachedAttention(shape)
        self.feed_norm, self.feed = Norm(shape), FeedForward(shape)

    def forward(self, x: Tensor, angles: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), angles, positions, seen)
        return x + self.feed(self.feed_norm(x))


class CachedGuide(nn.Module):
    """Tokens (1, n) at positions (n) to the logits (1, vocabulary) of what follows the last of them."""

    def __init__(self, shape: GuideShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(CachedBlock(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)
        self.scores = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.register_buffer("angles", compute_rope_angles(shape), persistent=False)
        self.register_buffer("indices", torch.arange(shape.context), persistent=False)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        angles, seen = self.angles[positions], self.indices[None, :] <= positions[:, None]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, angles, positions, seen)
        return self.scores(self.norm(x[:, -1]))


def read_shape(header: LlamaHeader) -> GuideShape:
    return GuideShape(
        vocabulary=len(header.get("tokenizer.ggml.tokens")),
        width=header.llama("embedding_length"),
        layers=header.llama("block_count"),
        heads=header.llama("attention.head_count"),
        kv_heads=header.llama("attention.head_count_kv"),
        head_width=header.llama("attention.key_length"),
        hidden=header.llama("feed_forward_length"),
        context=header.llama("context_length"),
        rope_base=header.llama("rope.freq_base"),
        epsilon=header.llama("attention.layer_norm_rms_epsilon"),
    )


def load_network(reader: gguf.GGUFReader) -> CachedGuide:
    """The network with the weights of the file."""
    network = CachedGuide(read_shape(LlamaHeader(reader)))
    tensors = {tensor.name: torch.from_numpy(tensor.data.astype(np.float32)) for tensor in reader.tensors}
    names = {"embedding": "token_embd", "scores": "token_embd", "norm": "output_norm"}
    for layer in range(len(network.blocks)):
        names |= {f"blocks.{layer}.{ours}": f"blk.{layer}.{theirs}" for ours, theirs in NAMES.items()}
    network.load_state_dict({f"{ours}.weight": tensors[f"{theirs}.weight"] for ours, theirs in names.items()})
    return network.eval()


def lower_network(network: CachedGuide, constants: dict[str, object], context: int) -> ExecutorchProgramManager:
    """The network as a program: matrices for XNNPACK, all else for the portable kernels."""
    length = torch.export.Dim("length", min=1, max=context - 1)
    example = (torch.zeros((1, 3), dtype=torch.long), torch.arange(3))
    with torch.no_grad():
        exported = torch.export.export(network, example, dynamic_shapes=({1: length}, {0: length}), strict=True)
    return to_edge_transform_and_lower(
        exported, partitioner=[XnnpackPartitioner()], constant_methods=constants
    ).to_executorch()


def write_model(folder: Path, source: Path = WEIGHTS) -> Path:
    """Write guide.pte, tokenizer.json, tokenizer_config.json; returns the program's path."""
    folder.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(source)
    header = LlamaHeader(reader)
    context, end = header.llama("context_length"), header.get("tokenizer.ggml.eos_token_id")
    constants = {
        "get_max_seq_len": context,
        "get_max_context_len": context,
        "get_vocab_size": len(header.get("tokenizer.ggml.tokens")),
        "get_eos_ids": [end],
        "get_bos_id": end,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": False,
        "enable_dynamic_shape": True,
    }
    program = lower_network(load_network(reader), constants, context)
    target = folder / "guide.pte"
    with target.open("wb") as file:
        program.write_to_file(file)
    write_tokenizer(folder / "tokenizer.json", header)
    (folder / "tokenizer_config.json").write_text(json.dumps(build_tokenizer_config(header), indent=2) + "\n", "utf-8")
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m core.guide.convert.executorch", description="Write guide for executorch."
    )
    parser.add_argument("folder", type=Path)
    print(write_model(parser.parse_args().folder))
