"""What loading a model takes against what its header made us expect: each load in a process of its own.

uv run python -m tests.bench.fit FILE CONTEXT SLOTS measures one load, and prints the bytes as JSON. With `full` behind
it the context is filled first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.contract.step import Work
from core.devices import measure_resident
from core.guide import WEIGHTS
from core.hardware import describe_machine
from core.models.fit.estimate import Parts, Setup, estimate_parts, list_rearranged_types
from core.models.formats.read import read_header
from core.requests import Sampling
from tests.bench import shapes
from tests.bench.report import table

SMALL = (512, 1024, 2048)
LARGE = (2048, 8192, 32_768)
"""Tokens of context; the built-in model was trained on 2048."""
TARGET = 0.10


class Taken(Struct, frozen=True):
    """Bytes by which the process grew."""

    resident: int
    cells: int
    kv_bytes_per_token: int


def run(names: Iterable[str], folder: Path, slots: int = 1) -> str:
    """`names`: `guide`, or shapes of `tests.bench.shapes`. The built-in model is measured with a full context too,
    which takes the larger ones minutes."""
    rows = []
    for name in names:
        path = WEIGHTS if name == "guide" else shapes.write(name, folder)
        for context in SMALL if name == "guide" else LARGE:
            parts = expected(path, context, slots)
            rows.append(_row(name, context, "empty", parts, parts.loaded, _measured(path, context, slots, full=False)))
            if name == "guide" and slots == 1:
                whole = parts.loaded + parts.filling
                rows.append(_row(name, context, "full", parts, whole, _measured(path, context, slots, full=True)))
    head = ("model", "context", "cells", "and it is", "weights", "copies", "KV", "compute", "logits", "rest")
    title = f"Estimated against resident memory, in MiB, {slots} slot{'s'[: slots != 1]}"
    return table(title, (*head, "estimated", "measured", "error", ""), rows)


def _row(name: str, context: int, state: str, parts: Parts, estimated: int, taken: Taken) -> tuple[object, ...]:
    error = estimated / taken.resident - 1
    counted = (parts.weights, parts.copies, parts.kv, parts.compute, parts.output, parts.vocabulary + parts.overhead)
    close = "" if abs(error) <= TARGET else f"more than {TARGET:.0%} off"
    sizes = map(_mebi, (*counted, estimated, taken.resident))
    return (name, context, taken.cells, state, *sizes, f"{error:+.1%}", close)


def expected(path: Path, context: int, slots: int) -> Parts:
    header = read_header(_artifact(path))
    return estimate_parts(
        header, Setup(context, slots=slots, rearranged=list_rearranged_types(describe_machine().features))
    )


def measure(path: Path, context: int, slots: int, *, full: bool = False) -> Taken:
    """In this process: load, compute a batch (or as many as the context holds) and one token more. Nothing else may
    have been loaded before."""
    import llama_cpp  # noqa: F401  # the library's own pages are no part of the model
    import numpy as np  # noqa: F401

    from core.engines.llamacpp.engine import LlamaCppEngine

    before = measure_resident()
    model = LlamaCppEngine().load(_artifact(path), LoadOptions(ctx_size=context, slots=slots))
    sequence = model.open(Sampling())
    left = context - 2 if full else min(model.spec.batch, context - 2)
    while left > 0:
        taken = min(left, model.spec.batch)
        model.step([Work(sequence, [5] * taken, sample=True)])
        left -= taken
    model.step([Work(sequence, [5], sample=True)])
    return Taken(measure_resident() - before, model.spec.cells, model.spec.kv_bytes_per_token)


def _measured(path: Path, context: int, slots: int, *, full: bool) -> Taken:
    command = [sys.executable, "-m", "tests.bench.fit", str(path), str(context), str(slots)]
    done = subprocess.run(command + ["full"] * full, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Taken)


def _artifact(path: Path) -> Artifact:
    return Artifact(path.stem, "gguf", path, path.stat().st_size)


def _mebi(size: int) -> float:
    return size / (1 << 20)


if __name__ == "__main__":
    file, context, slots, *how = sys.argv[1:]
    print(msgspec.json.encode(measure(Path(file), int(context), int(slots), full="full" in how)).decode())
