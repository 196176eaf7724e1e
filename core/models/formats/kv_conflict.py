"""Whether a model can keep its KV cache in the type that is asked for: told by its header, before it is loaded."""

from __future__ import annotations

from core.contract.options import BLOCK_ELEMENTS, KvElement, KvType, LoadOptions
from core.models.formats.header import Header


def explain_kv_conflict(header: Header, options: LoadOptions) -> str | None:
    """A sentence about what llama.cpp would refuse of the KV type, with what may be asked for instead; None where
    nothing conflicts."""
    kv = options.cache_type
    if not kv.quantized:
        return None
    if kv.of_values.quantized and not options.blockwise_attention:
        instead = f"use --kv-type {_without_values(kv)}"
        if options.flash_attention is False:
            return f"Quantized values need flash attention; leave out --no-flash-attention, or {instead}."
        missing = "Quantized values need flash attention, which --reproducible leaves out"
        return f"{missing}; add --flash-attention, or {instead}."
    if kv.of_keys is not kv.of_values and any(layer.kv_heads and not layer.value_length for layer in header.layers):
        return f"{header.name} reads its values out of its keys, so both have one type; use --kv-type q8_0 or f16."
    kept = [layer for layer in header.layers if layer.kv_heads]
    return _explain_length(header, "keys", kv.of_keys, [layer.key_length for layer in kept]) or _explain_length(
        header, "values", kv.of_values, [layer.value_length for layer in kept]
    )


def explain_single_type(options: LoadOptions) -> str | None:
    """The same of MLX, which has one type for keys and values."""
    kv = options.cache_type
    if kv.of_keys is kv.of_values:
        return None
    return f"MLX keeps keys and values in one type, and {kv.value} is two; use --kv-type q8_0, q4_0 or f16."


def _explain_length(header: Header, what: str, element: KvElement, lengths: list[int]) -> str | None:
    odd = next((length for length in lengths if length % BLOCK_ELEMENTS), None)
    if odd is None or not element.quantized:
        return None
    return (
        f"The {what} of {header.name} have {odd} elements a head, and {element.value} packs {BLOCK_ELEMENTS} together; "
        "use --kv-type f16."
    )


def _without_values(kv: KvType) -> str:
    return KvType(f"{kv.of_keys.value}/f16").value if kv.of_keys.quantized else KvType.F16.value
