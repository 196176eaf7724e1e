"""What an engine is: a back end that loads artifacts.

Abilities are Protocols, asked for with `isinstance`; there are no flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from core.contract.artifact import Artifact, FormatName
from core.contract.models import Model
from core.contract.options import LoadOptions, LoadProgress, ignore_progress


class Available(Struct, frozen=True):
    """The engine runs here."""

    version: str


class Unavailable(Struct, frozen=True):
    """The engine does not run here: why, and the command that mends it (None where nothing does)."""

    reason: str
    mend: str | None = None


Availability = Available | Unavailable


class Engine(Protocol):
    """A back end. Cheap to import and to construct: its native library is loaded by `availability` or `load`."""

    @property
    def name(self) -> str: ...

    @property
    def platform(self) -> str:
        """Where it runs, in words: `any`, `darwin-arm64` ..."""
        ...

    @property
    def formats(self) -> Sequence[FormatName]:
        """What it loads."""
        ...

    @property
    def priority(self) -> int:
        """Lower is tried first when nothing was measured."""
        ...

    def availability(self) -> Availability:
        """Whether it runs here, found without loading its native library."""
        ...

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> Model:
        """Load. Raises ArtifactError for a damaged file, LoadFailed when the engine will not have it, Cancelled when
        `progress` said to give up."""
        ...


@runtime_checkable
class Native(Protocol):
    """An engine whose native code may take the process with it, and must be tried in a child process first."""

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """The next setting to try after `options` crashed or hung; None when there is none left."""
        ...


@runtime_checkable
class LoraHost(Protocol):
    """An engine that adds low-rank adapters to a model when it is loaded."""

    @property
    def lora_format(self) -> FormatName:
        """What their files are."""
        ...
