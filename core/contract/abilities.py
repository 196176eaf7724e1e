"""What an engine offers beside loading: settings to choose among by measuring, what to leave out of the scales, states
that outlive a model.

Protocols, asked for with `isinstance`, as those of `core.contract.models`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions


class BatchSize(Struct, frozen=True):
    """How large steps are, and the forward passes they are divided into; in tokens."""

    batch: int
    micro_batch: int


@runtime_checkable
class Tunable(Protocol):
    """An engine with settings between which only measuring can choose."""

    def variants(self, artifact: Artifact, options: LoadOptions) -> Sequence[LoadOptions]:
        """What is worth timing, `options` themselves first; what they fix stays fixed. Of each other one a single
        setting differs. None takes more memory than a small share of the machine's beyond the first.

        Reads the model's header. Raises ArtifactError.
        """
        ...

    def adapt(self, artifact: Artifact, chosen: LoadOptions, asked: LoadOptions) -> LoadOptions:
        """What measuring `chosen` found best, so that it takes no more memory than that with the context and the slots
        of now, which may be others than it was measured for. What is `asked` for stays. Raises as `variants` does."""
        ...


@runtime_checkable
class Batched(Protocol):
    """An engine that divides a step into forward passes, of sizes between which only measuring can choose."""

    def sizes(self, artifact: Artifact, options: LoadOptions) -> Sequence[BatchSize]:
        """What is worth timing, that of the options first and what takes long last; what `options` fix stays fixed.

        None takes more memory than a small share of the machine's beyond the first. Reads the model's header.
        """
        ...


@runtime_checkable
class Measurable(Protocol):
    """An engine of which the memory that a model takes can be told from what the library itself takes."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Modules that its models are made with. A trial run imports them before it measures the memory of a model."""
        ...


@runtime_checkable
class TellsDevices(Protocol):
    """An engine whose library tells what it computes on here."""

    def list_devices(self) -> Sequence[str]:
        """In words for users, the one that models run on first. Imports the library, which may take a second; only
        where the engine is available. Raises ImportError, OSError and RuntimeError where the library fails."""
        ...


@runtime_checkable
class Places(Protocol):
    """An engine that lays the parts of a model out as `LoadOptions.placement` says, and tells them in
    `ModelSpec.buffers`. What does not fit raises MemoryShort."""

    def measure_free(self, options: LoadOptions) -> Mapping[str, int]:
        """Bytes that are free now on each accelerator that its library has, by id; with the RPC servers of the options.
        This takes memory of them, so it is for processes that load models. Raises LoadFailed."""
        ...


@runtime_checkable
class Reproduces(Protocol):
    """An engine that can load a model so that each request is computed apart: see `ModelSpec.grain`."""

    @property
    def grain(self) -> int:
        """Tokens of the passes that a prompt is divided into then."""
        ...


@runtime_checkable
class KeepsStates(Protocol):
    """An engine whose models take back, in another process too, what they saved of a sequence, sooner than computing
    it again would take."""

    @property
    def state_format(self) -> str:
        """Changes whenever states of before can no longer be taken back, although the engine's version is the same."""
        ...
