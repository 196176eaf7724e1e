"""Headers of whole models by their shapes, with every tensor that their files would tell of."""

from __future__ import annotations

from msgspec import Struct

from core.models.formats.header import Header, Layer
from core.models.formats.layout import WeightTensor


class ModelShape(Struct, frozen=True):
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int = 151_936
    headed: bool = True
    """Whether the output has weights of its own."""
    experts: int = 0
    """Each with a feed-forward part `hidden` wide."""
    experts_used: int = 0


HALF = ModelShape(24, 896, 4864, 14, 2, 64, headed=False)
SEVEN = ModelShape(28, 3584, 18_944, 28, 4, 128)
"""Those of Qwen2.5 0.5B and 7B, without the few biases that these have."""
MIXED = ModelShape(48, 2048, 768, 32, 4, 128, experts=128, experts_used=8)
"""That of Qwen3 30B A3B."""


def make_header(shape: ModelShape, context: int = 32_768) -> Header:
    """In Q8_0, norms in float32."""
    tensors = [
        WeightTensor("token_embd.weight", _q8(shape.vocabulary * shape.width)),
        WeightTensor("output_norm.weight", 4 * shape.width),
    ]
    if shape.headed:
        tensors.append(WeightTensor("output.weight", _q8(shape.vocabulary * shape.width)))
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    for layer in range(shape.layers):
        matrices = {
            "attn_q": shape.width * queries,
            "attn_k": shape.width * keys,
            "attn_v": shape.width * keys,
            "attn_output": queries * shape.width,
        }
        for part in ("gate", "up", "down"):
            matrices[f"ffn_{part}{'_exps' * bool(shape.experts)}"] = shape.width * shape.hidden * max(1, shape.experts)
        tensors += [WeightTensor(f"blk.{layer}.{name}.weight", _q8(size)) for name, size in matrices.items()]
        if shape.experts:
            tensors.append(WeightTensor(f"blk.{layer}.ffn_gate_inp.weight", 4 * shape.width * shape.experts))
        tensors += [WeightTensor(f"blk.{layer}.{name}.weight", 4 * shape.width) for name in ("attn_norm", "ffn_norm")]
    return Header(
        format="gguf",
        architecture="llama",
        name="shape",
        quantization="Q8_0",
        parameters=sum(tensor.bytes for tensor in tensors) * 32 // 34,
        weight_bytes=sum(tensor.bytes for tensor in tensors),
        layers=(Layer(shape.kv_heads, shape.head_size, shape.head_size),) * shape.layers,
        trained_context=context,
        width=shape.width,
        hidden=shape.hidden * max(1, shape.experts_used),
        heads=shape.heads,
        vocabulary=shape.vocabulary,
        experts=shape.experts,
        experts_used=shape.experts_used,
        tensors=tuple(tensors),
    )


def _q8(elements: int) -> int:
    return elements * 34 // 32
