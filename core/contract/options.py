"""How a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Final, Literal, Self

from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from core.contract.placement import Placement, SplitMode


class KvElement(Enum):
    """How llama.cpp calls the type of a key's, or of a value's, elements."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"

    @property
    def bytes(self) -> float:
        """That an element takes; the quantized types carry a 16-bit scale for each block of BLOCK_ELEMENTS."""
        sizes = {KvElement.F32: 4.0, KvElement.Q8_0: 34 / BLOCK_ELEMENTS, KvElement.Q4_0: 18 / BLOCK_ELEMENTS}
        return sizes.get(self, 2.0)

    @property
    def quantized(self) -> bool:
        return self in (KvElement.Q8_0, KvElement.Q4_0)


class KvType(Enum):
    """Element types of the KV cache: that of keys and values alike, or that of keys, a slash, that of values."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"
    F16_Q8_0 = "f16/q8_0"
    F16_Q4_0 = "f16/q4_0"
    Q8_0_F16 = "q8_0/f16"
    Q8_0_Q4_0 = "q8_0/q4_0"
    Q4_0_F16 = "q4_0/f16"
    Q4_0_Q8_0 = "q4_0/q8_0"

    @property
    def of_keys(self) -> KvElement:
        return KvElement(self.value.partition("/")[0])

    @property
    def of_values(self) -> KvElement:
        return KvElement(self.value.rpartition("/")[2])

    @property
    def quantized(self) -> bool:
        """Whether keys, values or both are."""
        return self.of_keys.quantized or self.of_values.quantized

    @property
    def caution(self) -> str:
        """What should be known of it before it is chosen; empty where there is nothing."""
        if self.of_keys is not KvElement.Q4_0:
            return ""
        return "Keys in 4 bits spoil the answers of some models; try --kv-type q8_0, or q8_0/q4_0 with llama.cpp."

    def count_bytes(self, key_elements: float, value_elements: float) -> int:
        """Bytes of so many elements of keys and of values, rounded to whole ones."""
        return round(key_elements * self.of_keys.bytes + value_elements * self.of_values.bytes)

    @classmethod
    def _missing_(cls, value: object) -> KvType | None:
        """A number of bits stands for the type that keeps keys and values so."""
        return BITS.get(str(value))


class Pooling(Enum):
    """How a model that reads a whole text at once makes one thing of the vectors of its tokens."""

    MEAN = "mean"
    CLS = "cls"
    """The first token's."""
    LAST = "last"
    RANK = "rank"
    """A score, by a head that was trained to tell how well a text answers another."""


BLOCK_ELEMENTS: Final = 32
"""Elements that share a scale in the quantized types."""
BITS: Final = {"0": KvType.F16, "8": KvType.Q8_0, "4": KvType.Q4_0}
"""What numbers of bits mean; 0 stands for no quantization."""
KvBits = Literal[0, 4, 8]
"""The same, for those who write them as numbers."""


class Lora(Struct, frozen=True, forbid_unknown_fields=True):
    """A low-rank adapter (arXiv 2106.09685) that is added to a model's weights."""

    path: str
    """A file in the model's own format."""
    scale: Annotated[float, Meta(ge=-100, le=100)] = 1.0
    """How much of it."""


class LayerWord(Enum):
    """What may be said in place of a number of layers."""

    AUTO = "auto"
    """As many as fit."""
    ALL = "all"


DEFAULT_BATCH_TOKENS: Final = 512
Threads = Annotated[int, Meta(ge=1, le=1_000_000)]
Batch = Annotated[int, Meta(ge=32, le=16_384)]
Layers = Annotated[int, Meta(ge=0, le=100_000)]


class LoadSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a user may say of how a model is loaded, declared once. A field is a key of `[model]` and of
    `[models.NAME]`, a variable of the environment, an option of the command line and a key of `POST /v1/models/load`,
    and it reaches the engines in `LoadOptions`. A value that equals the default was not said: the engine decides.

    `extra` of a Meta may hold `secret` (shown as asterisks), `local` (it names a file of this machine, so that
    clients of the server cannot say it), `operator` (they cannot say it for another reason) and `llama_cpp` (its name
    in a config file of llama-cpp-python's server).
    """

    ctx_size: Annotated[
        Annotated[int, Meta(ge=16, le=16_777_216)] | None,
        Meta(description="tokens that one request may hold (as trained, 16,384 at most, if they fit)"),
    ] = None
    slots: Annotated[
        Annotated[int, Meta(ge=1, le=200)] | None,
        Meta(description="requests that run at once (by memory, 8 at most)", extra={"llama_cpp": "n_seq_max"}),
    ] = None
    threads: Annotated[
        Threads | None, Meta(description="threads that decode (as measured)", extra={"llama_cpp": "threads"})
    ] = None
    batch_threads: Annotated[
        Threads | None,
        Meta(
            description="threads for prompts, and for several requests at once (as measured)",
            extra={"llama_cpp": "threads_batch"},
        ),
    ] = None
    batch: Annotated[
        Batch | None,
        Meta(description="tokens that a step takes at most (as measured, else 512)", extra={"llama_cpp": "n_batch"}),
    ] = None
    micro_batch: Annotated[
        Batch | None,
        Meta(
            description="tokens of one forward pass inside a step, with llama.cpp (as measured, else the batch)",
            extra={"llama_cpp": "n_ubatch"},
        ),
    ] = None
    kv_type: Annotated[
        KvType | KvBits | None,
        Meta(
            description="type of the KV cache, or keys/values as in q8_0/q4_0; 8 means q8_0, 4 means q4_0 (f16)",
            extra={"also": "--kv-quant"},
        ),
    ] = None
    flash_attention: Annotated[
        bool | None,
        Meta(
            description="compute attention in blocks (as measured)",
            extra={"also": "--flash-attn", "llama_cpp": "flash_attn"},
        ),
    ] = None
    gpu_layers: Annotated[
        Layers | LayerWord | None,
        Meta(
            description="layers that accelerators take, the output counted as one; 0 leaves them idle (all that fit)",
            extra={"also": "--n-gpu-layers"},
        ),
    ] = None
    split_mode: Annotated[
        SplitMode | None, Meta(description="how a model is divided among several accelerators (layer)")
    ] = None
    main_gpu: Annotated[
        Annotated[int, Meta(ge=0, le=255)] | None,
        Meta(
            description="the accelerator for what is not divided, counted from 0 (0)", extra={"llama_cpp": "main_gpu"}
        ),
    ] = None
    tensor_split: Annotated[
        tuple[Annotated[float, Meta(ge=0, le=1_000_000_000)], ...] | None,
        Meta(
            description="what each accelerator takes of the layers, as in 3,1 (by their free memory)",
            extra={"numbers": True, "value": "N,N"},
        ),
    ] = None
    cpu_moe: Annotated[
        Layers | LayerWord | None,
        Meta(
            description="layers, of the first, whose experts stay in main memory (as many as must)",
            extra={"also": "--n-cpu-moe"},
        ),
    ] = None
    override_tensor: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="tensors by a pattern of their names, and the device where they lie, as in exps=CPU (none)",
            extra={"value": "PATTERN=DEVICE", "also": "-ot"},
        ),
    ] = None
    kv_offload: Annotated[
        bool | None,
        Meta(description="keep the KV cache where its layers are (true)", extra={"llama_cpp": "offload_kqv"}),
    ] = None
    op_offload: Annotated[
        bool | None,
        Meta(
            description="let accelerators compute prompts with weights that lie in main memory (true)",
            extra={"llama_cpp": "op_offload"},
        ),
    ] = None
    mmap: Annotated[
        bool | None,
        Meta(
            description="map weights from their file (where nobody writes the file anew)",
            extra={"llama_cpp": "use_mmap"},
        ),
    ] = None
    mlock: Annotated[
        bool | None, Meta(description="keep weights from being swapped out (false)", extra={"llama_cpp": "use_mlock"})
    ] = None
    rpc: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="llama.cpp RPC servers whose devices are used, without any protection: trusted networks only "
            "(none)",
            extra={"value": "HOST:PORT", "operator": True},
        ),
    ] = None
    extra_buffers: Annotated[
        bool | None, Meta(description="repacked weights: faster where they do not crash (as measured)")
    ] = None
    swa_full: Annotated[
        bool | None,
        Meta(
            description="keep all tokens in layers that look back a window: prompts are reused at any token (true)",
            extra={"llama_cpp": "swa_full"},
        ),
    ] = None
    reproducible: Annotated[
        bool | None,
        Meta(description="compute each request apart, so that its tokens do not depend on others or on caches (false)"),
    ] = None
    loras: Annotated[
        tuple[Lora | str, ...],
        Meta(description="files of low-rank adapters to add (none)", extra={"local": True}),
    ] = ()
    pooling: Annotated[
        Pooling | None,
        Meta(description="make vectors of texts, pooling their tokens so; rank scores pairs (as the model says)"),
    ] = None
    chat_template: Annotated[
        str | tuple[str, ...] | None,
        Meta(
            description="the chat template: a file, a name of several that the model has, or Jinja (the model's own)",
            extra={"local": True, "value": "FILE", "llama_cpp": "chat_template"},
        ),
    ] = None
    response_schema: Annotated[
        str | None,
        Meta(
            description="a schema that answers are read by, in place of the model's own way: a file, or JSON (none)",
            extra={"local": True, "value": "FILE"},
        ),
    ] = None
    remote_api_key: Annotated[
        str | None, Meta(description="the API key for a server at a URL (none)", extra={"secret": True})
    ] = None

    def __post_init__(self) -> None:
        if isinstance(self.kv_type, int):
            force_setattr(self, "kv_type", KvType(self.kv_type))

    def overlaid_with(self, said: LoadSettings) -> Self:
        """These settings, with whatever of them `said` says in its place."""
        usual = LoadSettings()
        values = {name: getattr(said, name) for name in LoadSettings.__struct_fields__}
        return replace(self, **{name: value for name, value in values.items() if value != getattr(usual, name)})


class LoadOptions(LoadSettings, frozen=True):
    """What an engine is told: the settings, and what the workbench adds to them."""

    memory: int | None = None
    """Bytes the model may take, weights and all, where less is to be used than is free."""
    device_memory: tuple[tuple[str, int], ...] = ()
    """Bytes that it may take of accelerators, by their ids; of those that are not named, what is free."""
    kv_room: int | None = None
    """Bytes beside the weights where the KV cache comes to lie, of which contexts and slots that were not asked for
    take their part; None: what is free of main memory then."""
    mtp: bool = False
    """Load the heads that guess several tokens ahead, which the model has (`Header.mtp_layers`); it is
    `core.contract.models.PredictsAhead` then."""
    placement: Placement | None = None
    """Where the model's parts are to lie. None: by the wishes above, and as the engine does by itself."""

    @property
    def step_tokens(self) -> int:
        """Tokens a step takes at most."""
        return self.batch or DEFAULT_BATCH_TOKENS

    @property
    def pass_tokens(self) -> int:
        """Tokens a forward pass takes at most, for engines that divide steps."""
        return min(self.step_tokens, self.micro_batch or self.step_tokens)

    @property
    def cache_type(self) -> KvType:
        """Element type of the KV cache."""
        return self.kv_type if isinstance(self.kv_type, KvType) else KvType.F16

    @property
    def blockwise_attention(self) -> bool:
        """Whether attention may be computed in blocks. Where results are to be reproducible only if that is asked for:
        the blocks depend on the number of threads, and on how much of a prompt is computed at once."""
        return self.flash_attention is not False and not (self.reproducible and self.flash_attention is None)

    @property
    def repacks(self) -> bool:
        """Whether kernels for repacked weights may be used."""
        return self.extra_buffers is not False

    @property
    def cuts_windows(self) -> bool:
        """Whether layers that look back a window keep no more than it; their states cannot be cut then."""
        return self.swa_full is False

    @property
    def adapters(self) -> tuple[Lora, ...]:
        """The LoRA adapters; paths below the user's home are whole."""
        from pathlib import Path  # the command line's help does without it

        given = (Lora(lora) if isinstance(lora, str) else lora for lora in self.loras)
        return tuple(replace(lora, path=str(Path(lora.path).expanduser())) for lora in given)


def is_template_path(text: str) -> bool:
    """Whether what is said of a chat template is the path of a file, and neither Jinja nor a template's name."""
    return "{" not in text and "\n" not in text and any(each in text for each in "./\\~")


LoadProgress = Callable[[float], bool]
"""Told how much is loaded, from 0 to 1; answers whether to go on."""


def ignore_progress(_: float) -> bool:
    """Ignores the progress, and goes on."""
    return True
