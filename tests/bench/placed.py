"""What the planner says that each device takes of a model: against the buffers that llama.cpp made there, and against
what was seen to be taken. Each load is in a process of its own.

On the processor with the bindings' own library; where `BENCHTOP_TEST_RPC` names a folder with a build of llama.cpp that
has RPC (see `tests.fakes.rpc`), also with half and with all of the layers on a server's device. What is taken of main
memory is what the process grew by until the first batch was computed; a server tells no live numbers, so of its device
it is the buffers again.

uv run python -m tests.bench.placed LOAD measures one load, described as JSON, and prints the bytes as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.contract.placement import HOST, DeviceBuffers, DeviceTaken
from core.devices.device import Backend, Device, DeviceKind
from core.devices.library import LIBRARY_PATH
from core.devices.listing import describe_host
from core.models.fit.plan import DeviceShare, LoadPlan
from core.models.fit.setup import plan_load
from core.models.fit.wish import EVERY_LAYERS, PlacementWish
from core.models.formats.header import Header
from core.models.formats.read import read_header
from tests.bench.report import table
from tests.fakes.rpc import VARIABLE, run_rpc_server

CONTEXTS: Final = (512, 2048, 8192)
"""Tokens."""
KV_TYPES: Final = (KvType.F16, KvType.Q8_0)
TARGET_SHARE: Final = 0.05
HEAD: Final = ("context", "KV type", "layers", "memory", "weights", "KV", "compute", "logits")


class PlacedCase(Struct, frozen=True):
    """One load."""

    path: str
    options: LoadOptions


class PlacedTaken(Struct, frozen=True):
    taken: tuple[DeviceTaken, ...]
    buffers: tuple[DeviceBuffers, ...]


def run(path: Path, slots: int = 1) -> str:
    """A row for each context, KV type, placement and device."""
    with ExitStack() as open_:
        folder, remote = os.environ.get(VARIABLE), None
        if folder:
            remote = _describe_remote(open_.enter_context(run_rpc_server(Path(folder))))
        rows = list(_measure_all(path, slots, remote))
    head = (*HEAD, "planned", "made", "error", "expected", "taken", "error", "")
    title = f"{path.stem}: planned against llama.cpp's buffers, and expected against taken, in MiB, {slots} slot"
    return table(f"{title}{'s'[: slots != 1]}", head, rows)


def _describe_remote(server: str) -> Device:
    free = describe_host().free
    return Device("an RPC server", DeviceKind.REMOTE, free, free, f"RPC0[{server}]", Backend.RPC)


def _measure_all(path: Path, slots: int, remote: Device | None) -> Iterator[tuple[object, ...]]:
    header = read_header(_find_artifact(path))
    for options, plan in _list_cases(header, slots, remote):
        seen = _measure_apart(PlacedCase(str(path), replace(options, placement=plan.placement)))
        for share in plan.shares:
            layers = f"{plan.placed} of {plan.layers}"
            yield options.ctx_size, options.cache_type.value, layers, share.device.backend.value, *_compare(share, seen)


def _list_cases(header: Header, slots: int, remote: Device | None) -> Iterator[tuple[LoadOptions, LoadPlan]]:
    devices = (describe_host(), *([remote] if remote is not None else ()))
    layers = (0, len(header.layers) // 2, EVERY_LAYERS) if remote is not None else (0,)
    servers = (remote.id.removeprefix("RPC0[").removesuffix("]"),) if remote is not None else None
    for context in CONTEXTS:
        for kv in KV_TYPES:
            for count in layers:
                options = LoadOptions(ctx_size=context, slots=slots, kv_type=kv, extra_buffers=False, rpc=servers)
                yield options, plan_load(header, options, devices, (), PlacementWish(gpu_layers=count))


def _measure_apart(case: PlacedCase) -> PlacedTaken:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if case.options.rpc:
        environment[LIBRARY_PATH] = os.environ[VARIABLE]
    command = [sys.executable, "-P", "-m", "tests.bench.placed", msgspec.json.encode(case).decode()]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    return msgspec.json.decode(done.stdout, type=PlacedTaken)


def _compare(share: DeviceShare, seen: PlacedTaken) -> tuple[object, ...]:
    parts = share.parts
    compute = parts.compute + parts.filling
    planned = parts.weights + parts.kv + compute + parts.output
    made = next((each.total for each in seen.buffers if each.device == share.device.id), 0)
    expected = parts.loaded if share.device.id == HOST else parts.needed
    taken = next((each.bytes for each in seen.taken if each.device == share.device.id), 0)
    errors = [first / second - 1 if second else 0.0 for first, second in ((planned, made), (expected, taken))]
    close = "" if max(map(abs, errors)) <= TARGET_SHARE else f"more than {TARGET_SHARE:.0%} off"
    sizes = (parts.weights, parts.kv, compute, parts.output, planned, made, expected, taken)
    told = [size / (1 << 20) for size in sizes]
    return (*told[:6], f"{errors[0]:+.1%}", *told[6:], f"{errors[1]:+.1%}", close)


def measure(case: PlacedCase) -> PlacedTaken:
    """In this process. Nothing else may have been loaded before."""
    from core.engines.llamacpp.engine import LlamaCppEngine
    from core.trial.weighing import measure_load

    model, taken = measure_load(LlamaCppEngine(), _find_artifact(Path(case.path)), case.options)
    return PlacedTaken(taken, model.spec.buffers)


def _find_artifact(path: Path) -> Artifact:
    return Artifact(path.stem, "gguf", path, path.stat().st_size)


def main() -> None:
    # What libraries print on standard output must not stand before the result.
    out = os.dup(1)
    os.dup2(2, 1)
    os.write(out, msgspec.json.encode(measure(msgspec.json.decode(sys.argv[1], type=PlacedCase))))


if __name__ == "__main__":
    main()
