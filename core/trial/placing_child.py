"""The child that loads a model with one placement after another until one holds, and tells what that took.

`core.trial.placing` starts it. What the model is loaded with is what serving would load it with, contexts and all; it
is not loaded until its first passes are computed, which take memory that no load tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from msgspec import Struct
from msgspec.structs import replace

from core.contract.abilities import Measurable, Places
from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.models import Embedder, Model, Reranker, TokenModel, TokenPair
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceTaken, Placement
from core.contract.step import Work
from core.errors import BenchtopError, MemoryShort
from core.hardware import measure_resident
from core.requests import Sampling
from core.trial.child_process import take_request


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
        for library in engine.libraries if isinstance(engine, Measurable) else ():
            import_module(library)
        measure: Callable[[], Mapping[str, int]] = dict
        if isinstance(engine, Places) and options.placement is not None and not options.placement.on_host:
            measure = lambda: engine.measure_free(options)  # noqa: E731 - the other is a type
        free, resident = measure(), measure_resident()
        model = engine.load(request.artifact, options)
        compute_first_passes(model)
        taken = [DeviceTaken(HOST, max(0, measure_resident() - resident)), *_compare(model, free, measure())]
        model.shutdown()
    except MemoryShort as error:
        return PlacementFailed(index, str(error), short=True, device=error.device)
    except BenchtopError as error:
        return PlacementFailed(index, str(error), short=False)
    return PlacementHeld(index, tuple(taken))


def _compare(model: Model, before: Mapping[str, int], after: Mapping[str, int]) -> list[DeviceTaken]:
    """What is missing on each device that has a part of the model. Some tell no live numbers of what is free, and
    other programs may have freed some: it is never less than the buffers that the engine tells of."""
    buffers = [each for each in model.spec.buffers if each.device != HOST]
    missing = {device: free - after.get(device, free) for device, free in before.items()}
    return [DeviceTaken(each.device, max(each.total, missing.get(each.device, 0))) for each in buffers]


def compute_first_passes(model: Model) -> None:
    """A full batch, and one token more; of a model that reads texts, the longest that one pass takes."""
    tokens = [1] * model.spec.batch
    if isinstance(model, TokenModel):
        sequence = model.open(Sampling(temperature=0.0))
        (step,) = model.step([Work(sequence, tokens, sample=True)])
        model.step([Work(sequence, step.tokens[:1], sample=True)])
        model.close(sequence)
    elif isinstance(model, Embedder):
        model.embed([tokens])
    elif isinstance(model, Reranker):
        model.score([TokenPair(tokens, len(tokens) // 2)])


if __name__ == "__main__":
    main()
