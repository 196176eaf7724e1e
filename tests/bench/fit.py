"""What loading a model takes against what its header made us expect: each load in a process of its own.

uv run python -m tests.bench.fit LOAD measures one load, described as JSON, and prints the bytes as JSON.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import KvType, LoadOptions
from core.contract.step import Work
from core.guide import WEIGHTS
from core.hardware import describe_machine, measure_resident
from core.models.fit.parts import Parts, Setup, list_rearranged_types
from core.models.fit.placing import estimate_parts
from core.models.formats.read import read_header
from core.requests import Sampling
from tests.bench import shapes
from tests.bench.report import table

SMALL = (512, 1024, 2048)
LARGE = (2048, 8192, 32_768)
"""Tokens of context; the built-in model was trained on 2048."""
KV_TYPES = (KvType.Q8_0, KvType.Q8_0_Q4_0, KvType.Q4_0)
"""Measured with the longest context."""
TARGET = 0.10


class FitCase(Struct, frozen=True):
    """One load. With `full` the context is filled before memory is measured."""

    path: str
    context: int
    slots: int = 1
    kv: KvType = KvType.F16
    extra_buffers: bool = True
    full: bool = False


class Taken(Struct, frozen=True):
    """Bytes by which the process grew."""

    resident: int
    cells: int
    kv_bytes_per_token: int


def run(names: Iterable[str], folder: Path, slots: int = 1, *, extra_buffers: bool = True) -> str:
    """`names`: `guide`, or shapes of `tests.bench.shapes`. The built-in model is measured with a full context too,
    which takes the larger ones minutes."""
    rows = []
    for name in names:
        path = WEIGHTS if name == "guide" else shapes.write(name, folder)
        for case in _list_cases(name, path, slots, extra_buffers=extra_buffers):
            parts = expected(case)
            rows.append(_row(name, case, parts, parts.loaded + case.full * parts.filling, _measured(case)))
    head = ("model", "context", "cells", "KV type", "and it is", "weights", "copies", "KV", "compute", "logits", "rest")
    title = f"Estimated against resident memory, in MiB, {slots} slot{'s'[: slots != 1]}"
    return table(title, (*head, "estimated", "measured", "error", ""), rows)


def _list_cases(name: str, path: Path, slots: int, *, extra_buffers: bool) -> Iterator[FitCase]:
    contexts = SMALL if name == "guide" else LARGE
    for context in contexts:
        yield FitCase(str(path), context, slots, extra_buffers=extra_buffers)
        if name == "guide" and slots == 1:
            yield FitCase(str(path), context, slots, extra_buffers=extra_buffers, full=True)
    for kv in KV_TYPES:
        yield FitCase(str(path), contexts[-1], slots, kv, extra_buffers)


def _row(name: str, case: FitCase, parts: Parts, estimated: int, taken: Taken) -> tuple[object, ...]:
    error = estimated / taken.resident - 1
    counted = (parts.weights, parts.copies, parts.kv, parts.compute, parts.output, parts.vocabulary + parts.overhead)
    close = "" if abs(error) <= TARGET else f"more than {TARGET:.0%} off"
    sizes = map(_mebi, (*counted, estimated, taken.resident))
    state = "full" if case.full else "empty"
    return (name, case.context, taken.cells, case.kv.value, state, *sizes, f"{error:+.1%}", close)


def expected(case: FitCase) -> Parts:
    header = read_header(_artifact(case))
    rearranged = list_rearranged_types(describe_machine().features, extra_buffers=case.extra_buffers)
    return estimate_parts(header, Setup(case.context, case.kv, case.slots, rearranged=rearranged))


def measure(case: FitCase) -> Taken:
    """In this process: load, compute a batch (or as many as the context holds) and one token more. Nothing else may
    have been loaded before."""
    import llama_cpp  # noqa: F401  # the library's own pages are no part of the model
    import numpy as np  # noqa: F401

    from core.engines.llamacpp.engine import LlamaCppEngine

    options = LoadOptions(
        ctx_size=case.context, slots=case.slots, kv_type=case.kv, extra_buffers=None if case.extra_buffers else False
    )
    before = measure_resident()
    model = LlamaCppEngine().load(_artifact(case), options)
    assert isinstance(model, TokenModel)
    sequence = model.open(Sampling())
    left = case.context - 2 if case.full else min(model.spec.batch, case.context - 2)
    while left > 0:
        taken = min(left, model.spec.batch)
        model.step([Work(sequence, [5] * taken, sample=True)])
        left -= taken
    model.step([Work(sequence, [5], sample=True)])
    return Taken(measure_resident() - before, model.spec.cells, model.spec.kv_bytes_per_token)


def _measured(case: FitCase) -> Taken:
    command = [sys.executable, "-m", "tests.bench.fit", msgspec.json.encode(case).decode()]
    done = subprocess.run(command, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Taken)


def _artifact(case: FitCase) -> Artifact:
    path = Path(case.path)
    return Artifact(path.stem, "gguf", path, path.stat().st_size)


def _mebi(size: int) -> float:
    return size / (1 << 20)


if __name__ == "__main__":
    print(msgspec.json.encode(measure(msgspec.json.decode(sys.argv[1], type=FitCase))).decode())
