"""What the planner says that each device takes of a model, against the buffers that llama.cpp made there.

On the processor with the bindings' own library; where `BENCHTOP_TEST_RPC` names a folder with a build of llama.cpp that
has RPC (see `tests.fakes.rpc`), also with all layers and with half of them on a server's device.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import llama_cpp
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.contract.placement import DeviceBuffers
from core.devices.device import Backend, Device, DeviceKind
from core.devices.listing import describe_host
from core.models.fit.parts import Parts
from core.models.fit.plan import LoadPlan
from core.models.fit.setup import plan_load
from core.models.fit.wish import EVERY_LAYERS, PlacementWish
from core.models.formats.header import Header
from core.models.formats.read import read_header
from tests.bench.report import table
from tests.fakes.placed_loads import load_placed
from tests.fakes.rpc import VARIABLE, run_rpc_server

CONTEXTS: Final = (512, 2048, 8192)
"""Tokens."""
KV_TYPES: Final = (KvType.F16, KvType.Q8_0)
TARGET_SHARE: Final = 0.05


def run(paths: Iterable[Path]) -> str:
    """A row for each model, context, KV type, placement and device."""
    rows: list[tuple[object, ...]] = []
    with ExitStack() as open_:
        library, remote = Path(llama_cpp.__file__).parent / "lib", None
        if os.environ.get(VARIABLE):
            library = Path(os.environ[VARIABLE])
            remote = _describe_remote(open_.enter_context(run_rpc_server(library)))
        for path in paths:
            rows += _measure(path, library, remote)
    head = ("model", "context", "KV type", "layers", "device", "weights", "KV", "compute", "logits")
    return table("Planned against llama.cpp's buffers, in MiB", (*head, "planned", "made", "error", ""), rows)


def _describe_remote(server: str) -> Device:
    free = describe_host().free
    return Device("an RPC server", DeviceKind.REMOTE, free, free, f"RPC0[{server}]", Backend.RPC)


def _measure(path: Path, library: Path, remote: Device | None) -> Iterator[tuple[object, ...]]:
    artifact = Artifact(path.stem, "gguf", path, path.stat().st_size)
    header = read_header(artifact)
    cases = list(_list_cases(header, remote))
    for (options, plan), load in zip(cases, load_placed(library, path, [each for each, _ in cases]), strict=True):
        assert not load.refused, load.refused
        for share in plan.shares:
            made = next((each for each in load.buffers if each.device == share.device.id), DeviceBuffers(""))
            layers = f"{plan.placed} of {plan.layers}"
            yield (
                header.name,
                options.ctx_size,
                options.cache_type.value,
                layers,
                share.device.name if made.device else "host",
                *_compare(share.parts, made),
            )


def _list_cases(header: Header, remote: Device | None) -> Iterator[tuple[LoadOptions, LoadPlan]]:
    devices = (describe_host(), *([remote] if remote is not None else ()))
    layers = (0, len(header.layers) // 2, EVERY_LAYERS) if remote is not None else (0,)
    servers = (remote.id.removeprefix("RPC0[").removesuffix("]"),) if remote is not None else None
    for context in CONTEXTS:
        for kv in KV_TYPES:
            for count in layers:
                options = LoadOptions(ctx_size=context, slots=1, kv_type=kv, extra_buffers=False, rpc=servers)
                plan = plan_load(header, options, devices, (), PlacementWish(gpu_layers=count))
                yield replace(options, placement=plan.placement, threads=1, batch_threads=2), plan


def _compare(parts: Parts, made: DeviceBuffers) -> tuple[object, ...]:
    compute = parts.compute + parts.filling
    planned = parts.weights + parts.kv + compute + parts.output
    error = planned / made.total - 1 if made.total else 0.0
    close = "" if abs(error) <= TARGET_SHARE else f"more than {TARGET_SHARE:.0%} off"
    sizes = (parts.weights, parts.kv, compute, parts.output, planned, made.total)
    return (*(size / (1 << 20) for size in sizes), f"{error:+.1%}", close)
