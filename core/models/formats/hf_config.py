"""What a `config.json` says of a model: the facts that MLX, safetensors and ONNX folders do not tell else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from core.models.formats import hf_attention as attention
from core.models.formats.header import Layer
from core.models.formats.hf_keys import Keys, read_mapping

MOST_CONFIG_BYTES: Final = 8 << 20
CONTEXTS: Final = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions", "max_seq_len")
HIDDEN: Final = ("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "ffn_hidden_size")
EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
USED: Final = ("num_experts_per_tok", "moe_topk", "num_experts_per_token", "experts_per_token")
DTYPES: Final = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "half": "F16"}
PACKED_BITS: Final = 32
"""Bits of the integers that quantized weights are packed into."""


class Quantized(Struct, frozen=True):
    """How the weights are quantized."""

    label: str
    """`4-bit`, `MXFP4`, `AWQ 4-bit`, `FP8`, `BF16` ..."""
    bits: int | None = None
    """Of a weight that is packed into integers; None where none is."""


class Config(Keys):
    """What is told of a model by its configuration. Raises Damaged for one that is no JSON object."""

    @property
    def quantized(self) -> Quantized:
        mlx = read_mapping(self._all.get("quantization"))
        other = read_mapping(self._text.get("quantization_config"))
        if "bits" in mlx or ("bits" in other and "quant_method" not in other):
            how = mlx or other
            mode = str(how.get("mode", "affine"))
            bits = _bits(how.get("bits"))
            return Quantized(f"{bits or '?'}-bit" if mode == "affine" else mode.upper(), bits)
        if other:
            return _method(other)
        return Quantized(DTYPES.get(str(self._text.get("torch_dtype") or self._text.get("dtype")), "unknown"))

    def layers(self, notes: list[str], rows: Mapping[int, attention.ProjectionRows] | None = None) -> tuple[Layer, ...]:
        """See `attention.layers`."""
        return attention.read_layers(self, notes, rows)


def _method(how: Mapping[str, object]) -> Quantized:
    """The quantizations that transformers knows, by their `quant_method`."""
    method = str(how.get("quant_method") or "unknown").lower()
    bits = _bits(how.get("bits"))
    if method == "bitsandbytes":
        bits = 4 if how.get("load_in_4bit") or how.get("_load_in_4bit") else 8
    label = {"fp8": "FP8", "mxfp4": "MXFP4"}.get(method) or f"{method.upper()} {f'{bits}-bit' if bits else ''}".strip()
    return Quantized(label, bits if method in ("awq", "gptq") else None)


def _bits(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= PACKED_BITS else None


def find_label(config: Config) -> str | None:
    """What stands behind the colon for safetensors: `4bit`, `8bit`, `bf16`, `awq-4bit` ...; None where unknown."""
    label = config.quantized.label
    plain = {"F16": "fp16", "F32": "fp32", "BF16": "bf16", "unknown": None}
    return plain[label] if label in plain else label.lower().replace("-bit", "bit").replace(" ", "-")
