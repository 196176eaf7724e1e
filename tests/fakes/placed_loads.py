"""Loads a model once for each placement and tells what came of it: a process of its own, since the library whose
devices are used is chosen when the bindings are imported.

`python -m tests.fakes.placed_loads FILE` reads a JSON list of `LoadOptions` and prints one of `PlacedLoad`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceBuffers
from core.contract.step import Work
from core.devices.library import LIBRARY_PATH
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import LoadFailed
from core.requests import Sampling

PROMPT = tuple(range(300, 340))
DECODED = 6


class PlacedLoad(Struct, frozen=True):
    """What came of one placement."""

    buffers: tuple[DeviceBuffers, ...] = ()
    tokens: tuple[int, ...] = ()
    refused: str = ""

    def of(self, device: str = HOST) -> DeviceBuffers:
        return next(each for each in self.buffers if each.device == device)


def load_placed(folder: Path, model: Path, options: Sequence[LoadOptions]) -> list[PlacedLoad]:
    """Load a model so by the library of a folder."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.fakes.placed_loads", str(model)],
        input=msgspec.json.encode(options),
        stdout=subprocess.PIPE,
        env={**os.environ, LIBRARY_PATH: str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=100,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=list[PlacedLoad])


def _load(artifact: Artifact, options: LoadOptions) -> PlacedLoad:
    try:
        model = LlamaCppEngine().load(artifact, options)
    except LoadFailed as error:
        return PlacedLoad(refused=str(error))
    assert isinstance(model, TokenModel)
    sequence = model.open(Sampling(temperature=0.0))
    tokens: list[int] = []
    for _ in range(DECODED):
        (step,) = model.step([Work(sequence, tokens[-1:] or PROMPT, sample=True)])
        tokens += step.tokens
    model.shutdown()
    return PlacedLoad(model.spec.buffers, tuple(tokens))


def main() -> None:
    path = Path(sys.argv[1])
    artifact = Artifact(path.stem, "gguf", path, path.stat().st_size)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=list[LoadOptions])
    out = os.dup(1)
    os.dup2(2, 1)
    os.write(out, msgspec.json.encode([_load(artifact, options) for options in asked]))


if __name__ == "__main__":
    main()
