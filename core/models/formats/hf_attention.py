"""What each layer of a model keeps of the tokens it has seen, by its `config.json`.

The keys are those of transformers' configurations and of mlx_lm's models, which also tell what is kept; what only one
family does is in `families`. What is not known is counted whole, and said in a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from core.models.formats.gguf_facts import MOST_LAYERS
from core.models.formats.header import Layer
from core.models.formats.hf_families import BESIDE, LAST_SEES_ALL, LATENT, OTHER_LAYERS, PERIODS, STATES, TWICE
from core.models.formats.hf_keys import Keys
from core.models.formats.source import Damaged

LAYERS: Final = (
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "n_layers",
    "decoder_layers",
    "num_transformer_layers",
)
HEADS: Final = ("num_attention_heads", "n_head", "num_heads", "decoder_attention_heads")
KV_HEADS: Final = ("num_key_value_heads", "multi_query_group_num", "num_kv_heads", "n_head_kv")
LENGTHS: Final = ("attention_head_dim", "head_dim", "kv_channels")
WIDTHS: Final = ("hidden_size", "n_embd", "d_model", "dim")
KINDS: Final = ("layer_types", "layers_block_type", "hybrid_override_pattern")
INDICES: Final = ("full_attn_idxs", "attn_layer_indices", "hybrid_layer_ids")
"""Which layers attend, counted from zero: lfm2, bamba, zamba2."""
EVERY: Final = (
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "global_attn_every_n_layers",
    "no_rope_layer_interval",
)
"""Of how many layers the last sees all tokens."""
WINDOWED: Final = ("sliding_attention", "local_attention", "chunked_attention", "window_attention")
KEEPS_NOTHING: Final = ("linear", "mamba", "conv", "recurrent", "mlp", "moe", "rwkv", "kda", "gated_delta", "lightning")
"""Words in the names of layers that keep no keys and values."""
LETTERS: Final = {"M": "mamba", "-": "mlp", "E": "moe", "*": "attention"}
"""Of nemotron_h's `hybrid_override_pattern`."""


class ProjectionRows(Struct, frozen=True):
    """Elements of one token's keys and values in a layer, as the shapes of its projections tell them."""

    key: int
    value: int


class _Kind(Struct, frozen=True):
    attends: bool
    window: int | None = None


def read_layers(keys: Keys, notes: list[str], rows: Mapping[int, ProjectionRows] | None = None) -> tuple[Layer, ...]:
    """Adds to the notes where what is counted is an upper bound, or is not counted. `rows` are used where the
    configuration does not tell the heads. Raises Damaged."""
    count = keys.number(*LAYERS) or len(keys.names(*KINDS))
    if count > MOST_LAYERS:
        raise Damaged(f"its config.json claims {count} layers")
    kinds = _kinds(keys, count, notes)
    keeping = max(0, count - keys.number("num_kv_shared_layers", "num_kv_reuse_layers"))
    latent = _latent(keys, notes)
    made = []
    for index, kind in enumerate(kinds):
        layer = Layer(window=kind.window if kind.attends else None)
        if kind.attends and index < keeping:
            layer = latent or _layer(keys, index, kind.window) or _by_rows((rows or {}).get(index), kind) or layer
        made.append(layer)
    _say(keys, kinds[:keeping], made, notes)
    return tuple(made)


def _say(keys: Keys, kinds: list[_Kind], made: list[Layer], notes: list[str]) -> None:
    if any(not kind.attends for kind in kinds) or keys.of(BESIDE):
        notes.append("What its layers without attention keep is not told and not counted.")
    untold = sum(kind.attends and not layer.elements for kind, layer in zip(kinds, made, strict=False))
    if untold:
        notes.append(f"It is not told how wide the keys of {untold} layers are; the KV cache is larger than counted.")


def _layer(keys: Keys, index: int, window: int | None) -> Layer | None:
    """None where heads or lengths are not told."""
    heads = keys.number(*HEADS)
    kv_heads, length = _kv_heads(keys, index, heads), _length(keys, heads)
    if window is None and keys.of(LAST_SEES_ALL):
        # Layers that see all have heads of their own; other numbers of them only where keys serve as values.
        length = keys.number("global_head_dim", default=length)
        if keys.raw("attention_k_eq_v"):
            kv_heads = keys.number("num_global_key_value_heads", default=kv_heads)
    value = keys.number("v_head_dim", default=length)
    return Layer(kv_heads, length, value, window) if kv_heads and length else None


def _kv_heads(keys: Keys, index: int, heads: int) -> int:
    listed = keys.numbers(*KV_HEADS)
    if listed is not None and index < len(listed):
        return listed[index]
    shared = keys.raw("multi_query") is True and keys.raw("new_decoder_architecture") is not True
    told = keys.number(*KV_HEADS, default=1 if shared else heads)
    return max(told, keys.number("swa_num_key_value_heads"))


def _length(keys: Keys, heads: int) -> int:
    """Elements of a key of one head."""
    if keys.of(frozenset({"zamba", "zamba2"})):
        # They attend to a layer's input and the embedding side by side.
        return keys.number("attention_head_dim", default=2 * keys.number(*WIDTHS) // max(1, heads))
    return keys.number(*LENGTHS) or keys.number(*WIDTHS) // max(1, heads) * bool(heads)


def _latent(keys: Keys, notes: list[str]) -> Layer | None:
    """What a layer with multi-head latent attention keeps; None for one without."""
    rank, rope = keys.number("kv_lora_rank"), keys.number("qk_rope_head_dim")
    if not rank:
        return None
    if keys.of(LATENT):
        # A model that picks the tokens it attends to keeps keys for that, as both keys and values.
        kept = rank + rope + 2 * keys.number("index_head_dim")
        return Layer(1, kept * (2 if keys.of(TWICE) else 1), 0)
    notes.append("Latent attention is counted with keys and values written out: an upper bound.")
    key = keys.number("qk_nope_head_dim") + rope
    heads, value = keys.number(*HEADS), keys.number("v_head_dim", default=key)
    return Layer(heads, key, value) if heads and key else None


def _by_rows(rows: ProjectionRows | None, kind: _Kind) -> Layer | None:
    return Layer(1, rows.key, rows.value, kind.window) if rows is not None else None


def _kinds(keys: Keys, count: int, notes: list[str]) -> list[_Kind]:
    if keys.of(STATES):
        return [_Kind(False)] * count
    window = _window(keys)
    listed = _listed(keys, count)
    if listed is not None:
        return [_kind(name, window) for name in listed]
    attending = _attending(keys, count)
    if attending is not None:
        return [_Kind(index in attending) for index in range(count)]
    if keys.begins(*OTHER_LAYERS) and not keys.of(BESIDE):
        notes.append("Some of its layers may not attend; which is not told, so the KV cache is an upper bound.")
    return _windows(keys, count, window, notes)


def _window(keys: Keys) -> int | None:
    if keys.raw("use_sliding_window") is False:
        return None
    return keys.number("sliding_window", "attention_chunk_size", "attention_window_size", "sliding_window_size") or None


def _listed(keys: Keys, count: int) -> list[str] | None:
    """A name for each layer, where the configuration has them."""
    if len(names := keys.names(*KINDS)) >= count and names:
        return [LETTERS.get(name, name) for name in names[:count]]
    if repeated := keys.names("block_types", "_block_types"):
        # recurrent_gemma repeats them, and its attention is all local.
        kinds = {"attention": "local_attention"}
        return [kinds.get(name, name) for name in (repeated[index % len(repeated)] for index in range(count))]
    return None


def _attending(keys: Keys, count: int) -> frozenset[int] | None:
    """The layers that attend, where only some do and the configuration tells which."""
    if (indices := keys.numbers(*INDICES)) is not None:
        return frozenset(indices)
    linear = keys.part("linear_attn_config").get("kda_layers")
    if isinstance(linear, list):
        # kimi_linear counts from one.
        return frozenset(range(count)) - {each - 1 for each in linear if isinstance(each, int)}
    kinds = keys.numbers("attn_type_list")
    if kinds is not None and len(kinds) >= count:
        return frozenset(index for index in range(count) if kinds[index])
    if interval := keys.number("full_attention_interval"):
        return frozenset(range(interval - 1, count, interval))
    if (period := keys.number("attn_layer_period")) and not keys.of(frozenset({"zamba"})):
        return frozenset(range(keys.number("attn_layer_offset"), count, period))
    return None


def _windows(keys: Keys, count: int, window: int | None, notes: list[str]) -> list[_Kind]:
    if window is None:
        return [_Kind(True)] * count
    chunked = keys.numbers("no_rope_layers")
    if chunked and len(chunked) >= count:
        # llama4: one stands for a layer that has positions, and sees only its chunk.
        return [_Kind(True, window if chunked[index] else None) for index in range(count)]
    if pattern := keys.names("sliding_window_pattern"):
        # exaone4: LLLG, local and global.
        return [_Kind(True, window if pattern[index % len(pattern)] == "L" else None) for index in range(count)]
    family = keys.of(PERIODS)
    period = keys.number(*EVERY) or (PERIODS[family] if family else 0)
    if period:
        last = count - 1 if keys.of(LAST_SEES_ALL) else -1
        return [_Kind(True, window if (index + 1) % period and index != last else None) for index in range(count)]
    notes.append(f"Layers may look back {window} tokens only; which is not told, so the KV cache is an upper bound.")
    return [_Kind(True)] * count


def _kind(name: str, window: int | None) -> _Kind:
    if name in WINDOWED:
        return _Kind(True, window)
    return _Kind(not any(word in name for word in KEEPS_NOTHING))
