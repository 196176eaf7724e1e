"""What loading a model takes of each device, as a process that does nothing else sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module

from core.contract.abilities import Measurable, Places
from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.models import Embedder, Model, Reranker, TokenModel, TokenPair
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceTaken
from core.contract.step import Work
from core.errors import ArtifactError
from core.hardware import measure_resident
from core.models.formats.read import read_header
from core.requests import Sampling


def measure_load(engine: Engine, artifact: Artifact, options: LoadOptions) -> tuple[Model, tuple[DeviceTaken, ...]]:
    """Load a model and compute its first passes: what that took of each device, the host first, whatever else has been
    loaded before. Raises as the engine does."""
    import_beforehand(engine, artifact)
    measure: Callable[[], Mapping[str, int]] = dict
    if isinstance(engine, Places) and options.placement is not None and not options.placement.on_host:
        measure = lambda: engine.measure_free(options)  # noqa: E731 - the other is a type
    free, resident = measure(), measure_resident()
    model = engine.load(artifact, options)
    compute_first_passes(model)
    host = DeviceTaken(HOST, max(0, measure_resident() - resident))
    return model, (host, *_compare(model, free, measure()))


def import_beforehand(engine: Engine, artifact: Artifact) -> None:
    """What loading would import, and a server has long imported: modules are no part of a model."""
    if not isinstance(engine, Measurable):
        return
    for module in engine.libraries:
        import_module(module)
    with suppress(ArtifactError):
        # Reading it imports what knows the formats.
        read_header(artifact)


def _compare(model: Model, before: Mapping[str, int], after: Mapping[str, int]) -> list[DeviceTaken]:
    """What is missing on each device that has a part of the model. Some tell no live numbers of what is free, and
    other programs may have freed some: it is never less than the buffers that the engine tells of."""
    buffers = [each for each in model.spec.buffers if each.device != HOST]
    missing = {device: free - after.get(device, free) for device, free in before.items()}
    return [DeviceTaken(each.device, max(each.total, missing.get(each.device, 0))) for each in buffers]


def compute_first_passes(model: Model) -> None:
    """A full batch, and one token more, as far as the context has room for them; of a model that reads texts, the
    longest that one pass takes."""
    room = model.spec.cells - 1 if isinstance(model, TokenModel) else model.spec.batch
    tokens = [1] * min(model.spec.batch, room)
    if isinstance(model, TokenModel):
        sequence = model.open(Sampling(temperature=0.0))
        (step,) = model.step([Work(sequence, tokens, sample=True)])
        model.step([Work(sequence, step.tokens[:1], sample=True)])
        model.close(sequence)
    elif isinstance(model, Embedder):
        model.embed([tokens])
    elif isinstance(model, Reranker):
        model.score([TokenPair(tokens, len(tokens) // 2)])
