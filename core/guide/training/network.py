# mypy: ignore-errors
# Why: torch is no dependency of the product, so the type checker cannot see it.
"""The network of guide in torch: the llama architecture of llama.cpp, small.

Rotary pairs are neighbours, (0, 1), (2, 3) ...: the layout that GGUF's llama tensors are stored in, so the weights are
exported without permuting them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class GuideShape:
    """Hyperparameters; every row length is a multiple of 256, so that any GGUF quantization can be made of it."""

    vocabulary: int = 2048
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 64
    hidden: int = 768
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-5


class Norm(nn.Module):
    """Root-mean-square norm in float32."""

    def __init__(self, shape: GuideShape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions."""

    def __init__(self, shape: GuideShape) -> None:
        super().__init__()
        self.shape = shape
        self.q = nn.Linear(shape.width, shape.heads * shape.head_width, bias=False)
        self.k = nn.Linear(shape.width, shape.kv_heads * shape.head_width, bias=False)
        self.v = nn.Linear(shape.width, shape.kv_heads * shape.head_width, bias=False)
        self.output = nn.Linear(shape.heads * shape.head_width, shape.width, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        batch, length, _ = x.shape
        size = (batch, length, -1, self.shape.head_width)
        q = rotate_pairs(self.q(x).view(size).float(), angles).transpose(1, 2)
        k = rotate_pairs(self.k(x).view(size).float(), angles).transpose(1, 2)
        v = self.v(x).view(size).float().transpose(1, 2)
        share = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1)
        # In float32 also under autocast: on CPUs the backward pass of attention is slower in bfloat16.
        with torch.autocast("cpu", enabled=False):
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: GuideShape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class GuideBlock(nn.Module):
    """Norm, attention, norm, feed forward, each added to the stream."""

    def __init__(self, shape: GuideShape, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = Norm(shape), Attention(shape)
        self.feed_norm, self.feed = Norm(shape), FeedForward(shape)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), angles))
        return x + self.dropout(self.feed(self.feed_norm(x)))


class Guide(nn.Module):
    """Tokens (batch, length) to hidden states (batch, length, width); `logits` scores them with the tied embedding."""

    def __init__(self, shape: GuideShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(GuideBlock(shape, dropout) for _ in range(shape.layers))
        self.norm = Norm(shape)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("angles", compute_rope_angles(shape), persistent=False)
        self.apply(_initialise)
        for block in self.blocks:  # residual branches start small, as in GPT-2
            for out in (block.attention.output, block.feed.down):
                nn.init.normal_(out.weight, std=0.02 / math.sqrt(2 * shape.layers))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            x = block(x, self.angles[: tokens.shape[1]])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.embedding.weight)


def compute_rope_angles(shape: GuideShape) -> Tensor:
    """(context, head_width / 2) angles: position times base ** (-2i / head_width)."""
    steps = torch.arange(0, shape.head_width, 2, dtype=torch.float32) / shape.head_width
    return torch.outer(torch.arange(shape.context, dtype=torch.float32), shape.rope_base**-steps)


def rotate_pairs(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring pairs of x (batch, length, heads, head_width) by angles (length, head_width / 2)."""
    cos, sin = (f(angles)[None, :, None, :] for f in (torch.cos, torch.sin))
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
