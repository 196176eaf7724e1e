"""From the key-value pairs of a GGUF header to the facts of its model.

Which keys mean what, and what an architecture does that no key tells, is as llama.cpp reads them (`llama-model.cpp`,
`llama-hparams.cpp`, `llama-kv-cache.cpp`); what is not known of an architecture is counted whole and said in a note.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from core.models.formats.gguf_header import GgufHeader, Tensor, Value
from core.models.formats.gguf_mtp import count_mtp_layers, sum_mtp_bytes
from core.models.formats.gguf_pooling import find_pooling, is_encoder
from core.models.formats.header import Header, Layer, Portion
from core.models.formats.layout import WeightTensor
from core.models.formats.source import Damaged

MOST_LAYERS: Final = 4_096
MOST_UNITS: Final = 1 << 31
"""Of any width, length or count of heads."""
STATE_BYTES: Final = 4
"""An element of a recurrent state, which is kept in float32."""
PERIODS: Final[Mapping[str, int]] = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "cohere2": 4,
    "gpt-oss": 2,
    "exaone4": 4,
    "olmo2": 4,
    "llama4": 4,
    "afmoe": 4,
}
"""Of so many layers the last sees all tokens, and the others only a window."""
FIRST_SEES_ALL: Final[Mapping[str, int]] = {"smallthinker": 4}
"""Of so many layers the first does."""
WINDOWS: Final[Mapping[str, int]] = {"llama4": 8_192}
"""Tokens, where the architecture fixes them and no key tells."""
RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""No layer attends."""
BESIDE: Final = frozenset({"falcon-h1"})
"""Each layer attends and keeps a state."""
INTERVALS: Final = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""Every fourth layer attends (or every `full_attention_interval`-th); the others keep a state."""
FEED_FORWARD_ALONE: Final = frozenset({"nemotron_h", "nemotron_h_moe"})
"""Layers without heads are recurrent only where they have no feed-forward part either."""
GEMMA3N_LAYERS: Final = 20
"""Layers of gemma3n that keep keys and values; the rest use theirs."""


class _Facts:
    """Looks up keys of an architecture; what is absurd raises Damaged."""

    def __init__(self, pairs: Mapping[str, Value], architecture: str) -> None:
        self._pairs = pairs
        self.architecture = architecture

    def number(self, key: str, default: int = 0) -> int:
        """A count; the largest where there is one for each layer."""
        value = self._pairs.get(f"{self.architecture}.{key}", default)
        numbers = [each for each in value if isinstance(each, int)] if isinstance(value, tuple) else [value]
        found = max((each for each in numbers if isinstance(each, int | float)), default=default)
        if not 0 <= found < MOST_UNITS:
            raise Damaged(f"its header claims a {key} of {found}")
        return int(found)

    def each(self, key: str, layers: int, default: int) -> list[int]:
        """One count for each layer, whether the header tells one for all or a list."""
        value = self._pairs.get(f"{self.architecture}.{key}")
        if not isinstance(value, tuple):
            return [self.number(key, default)] * layers
        self.number(key)
        numbers = [int(each) if isinstance(each, int) and each >= 0 else default for each in value[:layers]]
        return numbers + [default] * (layers - len(numbers))

    def has(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self._pairs

    def raw(self, key: str) -> Value | None:
        return self._pairs.get(f"{self.architecture}.{key}")


class Whole(Struct, frozen=True):
    """What is known of all parts of a split file together."""

    parts: int
    bytes: int
    """Of all files."""


def describe_header(found: GgufHeader, name: str, whole: Whole | None = None, others: Sequence[Tensor] = ()) -> Header:
    """The model of which `found` is the header, or that of the first of its parts; `others` are tensors of the last of
    several. Raises Damaged."""
    pairs = found.pairs
    architecture = str(pairs.get("general.architecture") or "")
    if not architecture:
        raise Damaged("its header names no architecture")
    facts = _Facts(pairs, architecture)
    notes: list[str] = []
    layers = _layers(facts, notes)
    mtp = count_mtp_layers(found, architecture, others)
    parameters, weights = _weights(found, whole, notes)
    used = facts.number("expert_used_count")
    return Header(
        format="gguf",
        architecture=architecture,
        name=str(pairs.get("general.name") or name),
        quantization=_quantization(pairs.get("general.file_type"), found.tensors),
        parameters=parameters,
        weight_bytes=weights,
        layers=layers,
        trained_context=facts.number("context_length"),
        width=facts.number("embedding_length"),
        hidden=max(facts.number("feed_forward_length"), used * facts.number("expert_feed_forward_length")),
        heads=facts.number("attention.head_count"),
        vocabulary=found.lengths.get("tokenizer.ggml.tokens", 0) or facts.number("vocab_size"),
        merges=found.lengths.get("tokenizer.ggml.merges", 0),
        experts=facts.number("expert_count"),
        experts_used=used,
        template="tokenizer.chat_template" in pairs,
        mtp_layers=_mtp_layers(facts, len(layers), mtp),
        mtp_bytes=sum_mtp_bytes((*found.tensors, *others), len(layers), mtp),
        portions=_portions(found.tensors, weights),
        tensors=tuple(WeightTensor(tensor.name, tensor.bytes) for tensor in (*found.tensors, *others)),
        pooling=find_pooling(architecture, facts.raw("pooling_type")),
        notes=tuple(notes),
    )


def _layers(facts: _Facts, notes: list[str]) -> tuple[Layer, ...]:
    count = facts.number("block_count")
    if count > MOST_LAYERS:
        raise Damaged(f"its header claims {count} layers")
    if facts.raw("attention.causal") is False or is_encoder(facts.architecture):
        notes.append("An encoder: it keeps no keys and values between steps.")
        return (Layer(),) * count
    heads = facts.number("attention.head_count")
    kv_heads = facts.each("attention.head_count_kv", count, heads)
    state = _state(facts)
    windows = _windows(facts, count, notes)
    keeping = _keeping(facts, count)
    drafting = count - facts.number("nextn_predict_layers")
    made = []
    for index in range(count):
        if index >= drafting:
            # It is computed apart, if at all; see `mtp_layers`.
            made.append(Layer())
            continue
        attends, recurs = _kind(facts, index, kv_heads[index])
        windowed = windows[index] is not None
        layer = Layer(
            kv_heads=kv_heads[index] if attends and index < keeping else 0,
            key_length=_length(facts, "key", heads, windowed),
            value_length=0 if _latent(facts) else _length(facts, "value", heads, windowed),
            window=windows[index] if attends else None,
            state_bytes=state if recurs else 0,
        )
        made.append(layer)
    if any(layer.state_bytes for layer in made):
        notes.append(
            "Recurrent layers keep a state for each sequence, whatever its length; what they compute with is counted "
            "as that of other layers, which is too little."
        )
    elif any(_kind(facts, index, kv_heads[index])[1] for index in range(count)):
        notes.append(f"The state that {facts.architecture}'s recurrent layers keep is not told and not counted.")
    return tuple(made)


def _mtp_layers(facts: _Facts, count: int, mtp: int) -> tuple[Layer, ...]:
    """The last `mtp` of so many layers, which attend whatever the others do."""
    heads = facts.number("attention.head_count")
    kv_heads = facts.each("attention.head_count_kv", count, heads)
    value = 0 if _latent(facts) else _length(facts, "value", heads, windowed=False)
    return tuple(
        Layer(kv_heads[index] or max(kv_heads), _length(facts, "key", heads, windowed=False), value)
        for index in range(count - mtp, count)
    )


def _kind(facts: _Facts, index: int, kv_heads: int) -> tuple[bool, bool]:
    """Whether a layer attends, and whether it keeps a recurrent state."""
    if facts.architecture in RECURRENT:
        return False, True
    if facts.architecture in BESIDE:
        return True, True
    if facts.architecture in INTERVALS and not isinstance(facts.raw("attention.head_count_kv"), tuple):
        recurs = (index + 1) % max(1, facts.number("full_attention_interval", 4)) != 0
        return not recurs, recurs
    if kv_heads:
        return True, False
    alone = facts.architecture in FEED_FORWARD_ALONE and _feed_forward(facts, index) > 0
    return False, not alone and _recurs(facts)


def _recurs(facts: _Facts) -> bool:
    return any(facts.has(key) for key in ("ssm.state_size", "wkv.head_size", "shortconv.l_cache", "kda.head_dim"))


def _feed_forward(facts: _Facts, index: int) -> int:
    value = facts.raw("feed_forward_length")
    if isinstance(value, tuple):
        told = value[index] if index < len(value) else 0
        return told if isinstance(told, int) else 0
    return facts.number("feed_forward_length")


def _length(facts: _Facts, which: str, heads: int, windowed: bool) -> int:
    """Elements of a key or value of one head; layers with a window may have their own (gemma4)."""
    told = facts.number(f"attention.{which}_length", facts.number("embedding_length") // max(1, heads))
    return facts.number(f"attention.{which}_length_swa", told) if windowed else told


def _latent(facts: _Facts) -> bool:
    """Multi-head latent attention as llama.cpp runs it: the values are a part of the keys, and not kept apart."""
    return facts.has("attention.key_length_mla") and facts.has("attention.value_length_mla")


def _windows(facts: _Facts, count: int, notes: list[str]) -> list[int | None]:
    window = facts.number("attention.sliding_window") or WINDOWS.get(facts.architecture, 0)
    if not window:
        return [None] * count
    pattern = facts.raw("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return [window if index < len(pattern) and pattern[index] else None for index in range(count)]
    if facts.architecture in FIRST_SEES_ALL:
        period = FIRST_SEES_ALL[facts.architecture]
        return [window if index % period else None for index in range(count)]
    period = facts.number("attention.sliding_window_pattern", PERIODS.get(facts.architecture, 0))
    if period < 1:
        notes.append(
            f"Some layers look back {window} tokens only; which is not told, so the KV cache is an upper bound."
        )
        return [None] * count
    return [window if index % period < period - 1 else None for index in range(count)]


def _keeping(facts: _Facts, count: int) -> int:
    """How many layers, from the first, keep keys and values of their own; the rest use theirs."""
    shared = facts.number("attention.shared_kv_layers")
    if facts.architecture == "gemma3n" and not shared:
        return min(count, GEMMA3N_LAYERS)
    return max(0, count - shared - facts.number("nextn_predict_layers"))


def _state(facts: _Facts) -> int:
    """Bytes of one layer's state of one sequence: `n_embd_r` + `n_embd_s` of llama.cpp's `llama_hparams`."""
    width = facts.number("embedding_length")
    if head := facts.number("wkv.head_size"):
        return STATE_BYTES * (facts.number("token_shift_count", 2) * width + width * head)
    if length := facts.number("shortconv.l_cache"):
        return STATE_BYTES * width * (length - 1)
    inner, size = facts.number("ssm.inner_size"), facts.number("ssm.state_size")
    convolution = max(0, facts.number("ssm.conv_kernel") - 1) * (inner + 2 * facts.number("ssm.group_count") * size)
    return STATE_BYTES * (convolution + size * inner)


def _weights(found: GgufHeader, whole: Whole | None, notes: list[str]) -> tuple[int, int]:
    """Parameters, and bytes of the weights; of the parts that were not read, by the size of their files."""
    parameters = sum(tensor.elements for tensor in found.tensors)
    weights = sum(tensor.bytes for tensor in found.tensors)
    if whole is None or whole.parts < 2:
        return parameters, weights
    rest = max(weights, whole.bytes - found.length)
    if not weights:
        notes.append("The first part holds no weights, so how many parameters there are is not known.")
        return 0, rest
    notes.append(f"Counted by the sizes of its {whole.parts} files, of which only the first was read.")
    return round(parameters * rest / weights), rest


def _portions(tensors: tuple[Tensor, ...], weights: int) -> tuple[Portion, ...]:
    """By type, the largest first; scaled up to all parts where only the first was read."""
    read = sum(tensor.bytes for tensor in tensors)
    by_type: dict[str, int] = defaultdict(int)
    for tensor in tensors:
        if not tensor.name.startswith("token_embd") and tensor.name.endswith(".weight") and "norm" not in tensor.name:
            by_type[tensor.type] += tensor.bytes
    return tuple(
        Portion(kind, round(size * weights / max(1, read)))
        for kind, size in sorted(by_type.items(), key=lambda item: (-item[1], item[0]))
    )


def _quantization(file_type: Value | None, tensors: tuple[Tensor, ...]) -> str:
    """ggml's file type without `MOSTLY_`; where it is not told or unknown, the type of most of the weights."""
    from gguf import LlamaFileType

    known = {kind.value: kind.name for kind in LlamaFileType}
    if isinstance(file_type, int) and file_type in known and file_type != LlamaFileType.GUESSED.value:
        return known[file_type].removeprefix("MOSTLY_").removeprefix("ALL_")
    largest: dict[str, int] = defaultdict(int)
    for tensor in tensors:
        largest[tensor.type] += tensor.bytes
    return max(largest, key=lambda kind: largest[kind]) if largest else "unknown"
