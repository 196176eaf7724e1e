"""The child that loads a model with one placement after another until one holds, and tells what that took.

`core.trial.placing` starts it. What the model is loaded with is what serving would load it with, contexts and all; it
is not loaded until its first passes are computed, which take memory that no load tells of.
"""

from __future__ import annotations

from importlib import import_module

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceTaken, Placement
from core.errors import BenchtopError, MemoryShort
from core.trial.child_process import take_request
from core.trial.weighing import measure_load


class PlacingRequest(Struct, frozen=True):
    """What the child is to try. `engine` is `module:Class`."""

    engine: str
    artifact: Artifact
    options: LoadOptions
    placements: tuple[Placement, ...]
    """In this order, until one holds; in place of that of the options."""


class PlacementHeld(Struct, frozen=True, tag="held"):
    """A placement was loaded, and passes were computed with it."""

    index: int
    taken: tuple[DeviceTaken, ...]
    """The host first."""


class PlacementFailed(Struct, frozen=True, tag="failed"):
    """The engine declined a placement in good order."""

    index: int
    reason: str
    """A sentence."""
    short: bool
    """It was memory that was lacking."""
    device: str = HOST
    """Where."""


PlacingLine = PlacementHeld | PlacementFailed


def main() -> None:
    request, tell = take_request(PlacingRequest)
    module, _, attribute = request.engine.partition(":")
    engine: Engine = getattr(import_module(module), attribute)()
    for index, placement in enumerate(request.placements):
        line = _try(engine, request, index, replace(request.options, placement=placement))
        tell(line)
        if isinstance(line, PlacementHeld) or not line.short:
            return


def _try(engine: Engine, request: PlacingRequest, index: int, options: LoadOptions) -> PlacingLine:
    try:
        model, taken = measure_load(engine, request.artifact, options)
        model.shutdown()
    except MemoryShort as error:
        return PlacementFailed(index, str(error), short=True, device=error.device)
    except BenchtopError as error:
        return PlacementFailed(index, str(error), short=False)
    return PlacementHeld(index, taken)


if __name__ == "__main__":
    main()
