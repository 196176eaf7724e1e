"""Where the parts of a model lie, decided whole: what a planner makes of a user's wishes and of the devices there are,
what an engine obeys, and what a trial run corrects."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

HOST: Final = ""
"""The id of the machine's own memory, where the processor computes."""


class SplitMode(Enum):
    """How a model is divided among several devices."""

    NONE = "none"
    """It is not: one device takes all."""
    LAYER = "layer"
    """Each takes some of the layers, and the KV cache of these."""
    ROW = "row"
    """Each takes some rows of every matrix."""


class TensorRule(Struct, frozen=True):
    """Tensors that lie on one device, wherever the rest of their layer does."""

    pattern: str
    """A regular expression that is searched in their names, as llama.cpp has it: ECMAScript's, `blk\\.3\\.attn_`."""
    device: str
    """The id of a device; HOST for the machine's own memory."""

    @property
    def text(self) -> str:
        """As it is written in the settings."""
        return f"{self.pattern}={self.device or 'CPU'}"


class Placement(Struct, frozen=True):
    """Where the parts of a model lie. The default is a model that lies in the machine's memory alone.

    Of a model with N blocks there are N + 1 layers: the blocks, and behind them the output. Devices take the last of
    them; the embeddings of tokens stay with the host.
    """

    devices: tuple[str, ...] = ()
    """Ids (`core.devices.Device.id`), in the order in which they take layers. None: no device is touched at all, not
    even to compute what lies in the machine's memory."""
    layers: int = 0
    """How many of the last layers lie on the devices, the output counted as one; more than there are means all."""
    split: SplitMode = SplitMode.LAYER
    shares: tuple[float, ...] = ()
    """What each of the devices takes of those layers, in any unit; as many as there are devices. None: by the memory
    that is free on them."""
    main: int = 0
    """Index into `devices`: the one that takes all where nothing is split, and what cannot be split by rows."""
    expert_layers: int = 0
    """So many of the first blocks keep their experts in the machine's memory, whatever device takes the block."""
    rules: tuple[TensorRule, ...] = ()
    """They go before all else."""
    kv_offload: bool = True
    """The KV cache of a layer lies where the layer does; else all of it with the host."""
    op_offload: bool = True
    """Devices also compute large batches with weights that lie with the host."""
    mapped: bool | None = None
    """Whether weights are read through a mapping of their file; None: the engine decides."""
    locked: bool = False
    """What lies in the machine's memory may not be swapped out."""

    @property
    def on_host(self) -> bool:
        """Whether no device takes a part in it."""
        return not self.devices

    def count_layers(self, blocks: int) -> int:
        """How many of the layers of a model with so many blocks lie on devices, the output counted as one."""
        return 0 if self.on_host else min(self.layers, blocks + 1)

    def lightened(self, blocks: int, experts: int, amount: int) -> Placement | None:
        """The same with less on the devices, by about `amount` blocks of a model that has `blocks`, of which `experts`
        have experts; None where nothing is on them any more. Experts leave before whole layers do."""
        if self.on_host:
            return None
        first = max(0, blocks + 1 - self.layers)
        """The first block on a device: experts of those before it lie with the host already."""
        kept = max(self.expert_layers, first)
        if kept < experts:
            return replace(self, expert_layers=min(experts, kept + amount))
        layers = self.count_layers(blocks) - amount
        if layers > 0:
            return replace(self, layers=layers)
        return Placement(
            rules=tuple(rule for rule in self.rules if rule.device == HOST), mapped=self.mapped, locked=self.locked
        )


class DeviceBuffers(Struct, frozen=True):
    """Bytes that a loaded model has of one device, as its engine tells them."""

    device: str
    """Its id; HOST for the machine's own memory."""
    weights: int = 0
    kv: int = 0
    """The KV cache, and recurrent states."""
    compute: int = 0
    output: int = 0
    """Logits."""

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.output


class DeviceTaken(Struct, frozen=True):
    """Bytes of a device that loading a model was seen to take, its first passes counted."""

    device: str
    bytes: int
