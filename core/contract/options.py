"""How a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

if TYPE_CHECKING:
    pass


class KvType(Enum):
    """Element type of the KV cache."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"


class Lora(Struct, frozen=True, forbid_unknown_fields=True):
    """A low-rank adapter (arXiv 2106.09685) that is added to a model's weights."""

    path: str
    """A file in the model's own format."""
    scale: Annotated[float, Meta(ge=-100, le=100)] = 1.0
    """How much of it."""


DEFAULT_BATCH: Final = 512


class LoadOptions(Struct, frozen=True):
    """How to load. None leaves the choice to the engine, made from the model's header and this machine."""

    context: int | None = None
    """Tokens a single request may hold."""
    slots: int | None = None
    """Sequences that run at once."""
    threads: int | None = None
    """For steps of a single token."""
    batch_threads: int | None = None
    """For prefill, and for steps of several sequences."""
    batch: int | None = None
    """Tokens a step takes at most; None takes what was measured best, else DEFAULT_BATCH."""
    micro_batch: int | None = None
    """Tokens of one forward pass inside a step, for engines that divide steps; None takes what was measured best, else
    as many as the batch."""
    kv_type: KvType = KvType.F16
    flash_attention: bool | None = None
    """None leaves it to the engine."""
    extra_buffers: bool = True
    """llama.cpp's repacked and AMX buffer types; faster where they work, and they crash on some machines."""
    loras: tuple[Lora, ...] = ()
    """Added in this order; for engines that are a LoraHost."""
    memory: int | None = None
    """Bytes the model may take, weights and all, where less is to be used than is free."""
    api_key: str | None = None
    """What a server elsewhere wants to be sent; given to engines that ask one, and to no other."""

    @property
    def step_tokens(self) -> int:
        """Tokens a step takes at most."""
        return self.batch or DEFAULT_BATCH

    @property
    def pass_tokens(self) -> int:
        """Tokens a forward pass takes at most, for engines that divide steps."""
        return min(self.step_tokens, self.micro_batch or self.step_tokens)


LoadProgress = Callable[[float], bool]
"""Told how much is loaded, from 0 to 1; answers whether to go on."""


def no_progress(_: float) -> bool:
    """Tells nobody, and goes on."""
    return True


BYTES = {
    KvType.F32: 4.0,
    KvType.F16: 2.0,
    KvType.BF16: 2.0,
    KvType.Q8_0: 34 / 32,
    KvType.Q4_0: 18 / 32,
}
"""Bytes an element takes; the quantized types carry a 16-bit scale for each block of 32."""
