"""Which GGUF files carry heads for several tokens (multi-token prediction, MTP) that this version of llama.cpp runs.

As its `src/models` has it: it ends the process where a file's heads are not what its architecture takes for granted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from core.models.formats.gguf_header import GgufHeader, Tensor

SINGLE: Final = frozenset({"glm4moe", "deepseek2", "hy_v3", "qwen35", "qwen35moe"})
"""Architectures with one head, which guesses again and again from its own hidden states. It tells those of all tokens
of a pass."""
SEVERAL: Final = frozenset({"step35", "mimo2"})
"""Those that may have several, one for each token ahead. They tell the hidden states of tokens alone that have
logits."""
NEEDED: Final[Mapping[str, str]] = {
    "glm4moe": "ffn_gate_inp.weight",
    "deepseek2": "ffn_gate_inp.weight",
    "mimo2": "attn_qkv.weight",
    "qwen35moe": "ffn_gate_inp.weight",
}
"""What the block of a head must have there besides its own tensors."""
LATENT: Final = frozenset({"deepseek2"})
"""Those whose heads are computed with latent attention alone."""


def count_mtp_layers(found: GgufHeader, architecture: str, others: Sequence[Tensor] = ()) -> int:
    """Layers at the end that only guess ahead, and can. `others` are tensors of further parts of a split file."""
    told = found.pairs.get(f"{architecture}.nextn_predict_layers")
    layers = found.pairs.get(f"{architecture}.block_count")
    if not isinstance(told, int) or not isinstance(layers, int) or not 0 < told < layers:
        return 0
    if architecture not in SEVERAL and not (architecture in SINGLE and told == 1):
        return 0
    if architecture in LATENT and (
        f"{architecture}.attention.key_length_mla" not in found.pairs
        or found.pairs.get(f"{architecture}.attention.temperature_scale")
    ):
        return 0
    names = {tensor.name for tensor in (*found.tensors, *others)}
    wanted = ["nextn.eh_proj.weight", "nextn.enorm.weight", "nextn.hnorm.weight"]
    if needed := NEEDED.get(architecture):
        wanted.append(needed)
    there = all(f"blk.{index}.{name}" in names for index in range(layers - told, layers) for name in wanted)
    return told if there else 0


def sum_mtp_bytes(tensors: Sequence[Tensor], layers: int, count: int) -> int:
    """Bytes of the last `count` of so many layers."""
    starts = tuple(f"blk.{index}." for index in range(layers - count, layers))
    return sum(tensor.bytes for tensor in tensors if tensor.name.startswith(starts)) if count else 0
