"""What a `config.json` says of a model's layers: the facts that MLX, safetensors and ONNX folders do not tell else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from core.models.formats import Damaged
from core.models.headers.described import MOST_LAYERS, MOST_UNITS
from core.models.headers.header import Layer

LONGEST: Final = 8 << 20
CONTEXTS: Final = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions", "max_seq_len")
LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers")
HEADS: Final = ("num_attention_heads", "n_head", "num_heads", "decoder_attention_heads")
WIDTHS: Final = ("hidden_size", "n_embd", "d_model", "dim")
HIDDEN: Final = ("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "ffn_hidden_size")
EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
USED: Final = ("num_experts_per_tok", "moe_topk", "num_experts_per_token", "experts_per_token")
WINDOWED: Final = ("sliding_attention", "local_attention", "chunked_attention")
DTYPES: Final = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "half": "F16"}
PACKED_BITS: Final = 32
"""Bits of the integers that quantized weights are packed into."""


class Quantized(Struct, frozen=True):
    """How the weights are quantized."""

    label: str
    """`4-bit`, `MXFP4`, `AWQ 4-bit`, `FP8`, `BF16` ..."""
    bits: int | None = None
    """Of a weight that is packed into integers; None where none is."""


class Config:
    """Reads what is asked of it, in the part about text where a model has several."""

    def __init__(self, data: bytes) -> None:
        """Raises Damaged for what is no JSON object."""
        try:
            self._all = msgspec.json.decode(data, type=dict[str, object])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise Damaged(f"its config.json is damaged ({error})") from error
        text = next((part for key in ("text_config", "llm_config") if (part := _object(self._all.get(key)))), {})
        self._text: Mapping[str, object] = {**self._all, **text}

    @property
    def architecture(self) -> str:
        return str(self._all.get("model_type") or "unknown")

    def number(self, *keys: str, default: int = 0) -> int:
        """The first of the keys that tells a count. Raises Damaged for an absurd one."""
        for key in keys:
            value = self._text.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                if not 0 <= value < MOST_UNITS:
                    raise Damaged(f"its config.json claims a {key} of {value}")
                return value
        return default

    @property
    def quantized(self) -> Quantized:
        mlx = _object(self._all.get("quantization"))
        other = _object(self._text.get("quantization_config"))
        if "bits" in mlx or ("bits" in other and "quant_method" not in other):
            how = mlx or other
            mode = str(how.get("mode", "affine"))
            bits = _bits(how.get("bits"))
            return Quantized(f"{bits or '?'}-bit" if mode == "affine" else mode.upper(), bits)
        if other:
            return _method(other)
        return Quantized(DTYPES.get(str(self._text.get("torch_dtype") or self._text.get("dtype")), "unknown"))

    def layers(self, notes: list[str]) -> tuple[Layer, ...]:
        """Adds to the notes where what is counted is an upper bound. Raises Damaged."""
        count = self.number(*LAYERS)
        if count > MOST_LAYERS:
            raise Damaged(f"its config.json claims {count} layers")
        heads = self.number(*HEADS)
        kv_heads = self.number("num_key_value_heads", "multi_query_group_num", "num_kv_heads", default=heads)
        key, value = self._lengths(heads, notes)
        if self.number("kv_lora_rank"):
            kv_heads = heads
        kinds = self._kinds(count, notes)
        made = []
        for kind in kinds:
            attends = kind.attends
            made.append(Layer(kv_heads if attends else 0, key, value, kind.window if attends else None))
        if any(not kind.attends for kind in kinds):
            notes.append("What its layers without attention keep is not told and not counted.")
        return tuple(made)

    def _lengths(self, heads: int, notes: list[str]) -> tuple[int, int]:
        """Elements of a key and of a value of one head."""
        if self.number("kv_lora_rank"):
            notes.append("Latent attention is counted with keys and values written out: an upper bound.")
            return self.number("qk_nope_head_dim") + self.number("qk_rope_head_dim"), self.number("v_head_dim")
        length = self.number("head_dim", default=self.number(*WIDTHS) // max(1, heads))
        return length, length

    def _kinds(self, count: int, notes: list[str]) -> list[_Kind]:
        window = self.number("sliding_window", "attention_chunk_size") or None
        if self._text.get("use_sliding_window") is False:
            window = None
        listed = self._text.get("layer_types") or self._text.get("layers_block_type")
        if isinstance(listed, list) and len(listed) >= count:
            return [_kind(str(name), window) for name in listed[:count]]
        if interval := self.number("full_attention_interval"):
            return [_Kind((index + 1) % interval == 0) for index in range(count)]
        if self.architecture in ("mamba", "mamba2", "rwkv6", "rwkv7"):
            return [_Kind(False)] * count
        period = self.number("sliding_window_pattern", "_sliding_window_pattern")
        if window and period:
            return [_Kind(True, window if (index + 1) % period else None) for index in range(count)]
        if window:
            notes.append(
                f"Layers may look back {window} tokens only; which is not told, so the KV cache is an upper bound."
            )
        return [_Kind(True)] * count


class _Kind(Struct, frozen=True):
    attends: bool
    window: int | None = None


def _kind(name: str, window: int | None) -> _Kind:
    if name in WINDOWED:
        return _Kind(True, window)
    return _Kind("attention" in name and "linear" not in name)


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


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
