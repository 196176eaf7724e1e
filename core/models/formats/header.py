"""What a model's file or folder says of it before anything is loaded: sizes, layers, context."""

from __future__ import annotations

from msgspec import Struct

from core.contract.artifact import FormatName
from core.contract.options import KvType, Pooling
from core.models.formats.layout import WeightLayout, WeightTensor, divide_weights, drop_last_blocks, guess_layout


class Layer(Struct, frozen=True):
    """What one layer keeps of the tokens it has seen."""

    kv_heads: int = 0
    """Zero where it keeps no keys and values of its own."""
    key_length: int = 0
    """Elements of a key of one head."""
    value_length: int = 0
    """Of a value; zero where values are read out of the keys (multi-head latent attention)."""
    window: int | None = None
    """Tokens it looks back at most; None: all."""
    state_bytes: int = 0
    """Recurrent state of one sequence, whatever its length."""

    @property
    def elements(self) -> int:
        """Of keys and values together, for one token."""
        return self.kv_heads * (self.key_length + self.value_length)


class Portion(Struct, frozen=True):
    """The matrices of one tensor type that a forward pass multiplies with; the embedding is not one of them."""

    type: str
    """ggml's name: `Q4_K`, `F16` ..."""
    bytes: int


class Header(Struct, frozen=True):
    """The facts of a model that memory and fitness depend on. A number that nobody told is zero."""

    format: FormatName
    architecture: str
    name: str
    quantization: str
    """As its files call it: `Q4_K_M`, `4-bit`, `BF16` ..."""
    parameters: int
    weight_bytes: int
    layers: tuple[Layer, ...]
    trained_context: int
    """Tokens."""
    width: int = 0
    """Of the embedding."""
    hidden: int = 0
    """Of the feed-forward part, the widest layer's; of all experts that a token uses together."""
    heads: int = 0
    vocabulary: int = 0
    merges: int = 0
    """Pairs that a byte-pair tokenizer joins."""
    experts: int = 0
    experts_used: int = 0
    """For each token."""
    template: bool = False
    """Whether a chat template came with it."""
    mtp_layers: tuple[Layer, ...] = ()
    """Layers beside the others that only guess several tokens ahead, where the engine can run them."""
    mtp_bytes: int = 0
    """Of their weights, a part of `weight_bytes` that is loaded only where they are used."""
    portions: tuple[Portion, ...] = ()
    """Weights by type, where the file tells; see Portion."""
    tensors: tuple[WeightTensor, ...] = ()
    """Every tensor that its file tells of; none where files do not say what lies in which layer."""
    pooling: Pooling | None = None
    """Of a model that makes vectors or scores of whole texts, where its file tells."""
    notes: tuple[str, ...] = ()
    """Where the facts are incomplete or an upper bound."""

    @property
    def recurrent(self) -> bool:
        """Whether any layer keeps a state that cannot be cut at a token."""
        return any(layer.state_bytes for layer in self.layers)

    @property
    def kv_heads(self) -> int:
        """The most that any layer has."""
        return max((layer.kv_heads for layer in self.layers), default=0)

    def loaded_bytes(self, *, mtp: bool) -> int:
        """Of the weights, those that come into memory."""
        return self.weight_bytes - (0 if mtp else self.mtp_bytes)

    @property
    def window(self) -> int | None:
        """The shortest that any layer looks back; None where all see everything."""
        return min((layer.window for layer in self.layers if layer.window is not None), default=None)

    def kv_bytes_per_token(self, kv: KvType, *, mtp: bool = False) -> int:
        """KV bytes = sum over layers of kv_heads * (key_length * bytes of a key's element + value_length * those of a
        value's); no window counted."""
        return self.kv_bytes(1, kv, mtp=mtp)

    def kv_bytes(self, cells: int, kv: KvType, *, windowed: bool = False, ahead: int = 0, mtp: bool = False) -> int:
        """Bytes for `cells` tokens. `windowed`: layers with a window keep only it and `ahead` tokens of a batch. With
        `mtp`, those of `mtp_layers` too."""
        layers = (*self.layers, *self.mtp_layers) if mtp else self.layers
        kept = [(layer, layer.kv_heads * _kept(layer, cells, windowed, ahead)) for layer in layers]
        keys = sum(heads * layer.key_length for layer, heads in kept)
        return kv.count_bytes(keys, sum(heads * layer.value_length for layer, heads in kept))

    def lay_out(self, *, mtp: bool = False) -> WeightLayout:
        """What of its weights belongs to which layer; those of heads that guess ahead only with `mtp`."""
        count = len(self.layers)
        if not self.tensors:
            share = self.vocabulary * self.width / self.parameters if self.parameters else 0.0
            weights = self.loaded_bytes(mtp=mtp)
            return guess_layout(count, weights, round(weights * min(1.0, share)))
        layout = divide_weights(self.tensors, count, self.weight_bytes)
        return layout if mtp or not self.mtp_bytes else drop_last_blocks(layout, len(self.mtp_layers))

    def state_bytes(self, sequences: int) -> int:
        """Of all recurrent layers: a whole state for each sequence that may exist."""
        return sequences * sum(layer.state_bytes for layer in self.layers)


def _kept(layer: Layer, cells: int, windowed: bool, ahead: int) -> int:
    return min(cells, layer.window + ahead) if windowed and layer.window is not None else cells
