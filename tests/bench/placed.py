"""What a planned load takes of each device against its plan: with the whole model on a second device, and with some of
its layers there. `tests.bench.fit` is for what lies in main memory alone.

The second device is llama.cpp's RPC server (`tests.fakes.rpc`), which lends this machine's processor. Host memory is
what the process grew by; a device's is what llama.cpp says of its buffers, since a processor tells no live numbers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.contract.placement import HOST, DeviceTaken
from core.devices.device import Device
from core.devices.library import LIBRARY_PATH, LlamaLibrary
from core.devices.listing import describe_host
from core.engines.llamacpp.engine import LlamaCppEngine
from core.hardware import describe_machine
from core.models.fit.plan import LoadPlan
from core.models.fit.setup import plan_load
from core.models.fit.wish import read_wish
from core.models.formats.read import read_header
from core.trial.placing import ModelExtent, PlacementTrials
from tests.bench.report import table
from tests.fakes.rpc import run_rpc_server

CONTEXTS = (2048, 4096, 8192)
KV_TYPES = (KvType.F16, KvType.Q8_0)
TARGET = 0.05
LOCATION = "core.engines.llamacpp.engine:LlamaCppEngine"


def run(model: Path, library: Path, slots: int = 1) -> str:
    """`library`: the folder of a build with RPC."""
    rows: list[tuple[object, ...]] = []
    before = os.environ.get(LIBRARY_PATH)
    os.environ[LIBRARY_PATH] = str(library)
    try:
        with run_rpc_server(library) as endpoint, TemporaryDirectory() as folder:
            found = LlamaLibrary(library)
            found.servers = (endpoint,)
            devices = (describe_host(), *found.look().devices)
            trials = PlacementTrials(Path(folder), 120.0)
            for context in CONTEXTS:
                for kv in KV_TYPES:
                    options = LoadOptions(
                        ctx_size=context, slots=slots, kv_type=kv, extra_buffers=False, rpc=(endpoint,)
                    )
                    rows += _measure(model, options, devices, trials)
    finally:
        os.environ.pop(LIBRARY_PATH)
        if before is not None:
            os.environ[LIBRARY_PATH] = before
    head = ("context", "KV type", "layers", "memory", "weights", "KV", "compute", "planned", "taken", "error", "")
    return table(f"{model.stem}: planned against taken, in MiB, {slots} slot{'s'[: slots != 1]}", head, rows)


def _measure(
    model: Path, options: LoadOptions, devices: tuple[Device, ...], trials: PlacementTrials
) -> Iterator[tuple[object, ...]]:
    artifact = Artifact(model.stem, "gguf", model, model.stat().st_size)
    header = read_header(artifact)
    total = len(header.layers) + 1
    for layers in (total, total // 2):
        asked = replace(options, gpu_layers=layers)
        plan = plan_load(header, asked, devices, describe_machine().features, read_wish(asked))
        placed = replace(asked, placement=plan.placement)
        verdict = trials.verify(
            LlamaCppEngine(),
            LOCATION,
            artifact,
            placed,
            ModelExtent(total - 1),
            {},
            threading.Event(),
            fixed=True,
            fresh=True,
        )
        yield from _compare(options, layers, total, plan, verdict.taken)


def _compare(
    options: LoadOptions, layers: int, total: int, plan: LoadPlan, taken: tuple[DeviceTaken, ...]
) -> Iterator[tuple[object, ...]]:
    measured = {each.device: each.bytes for each in taken}
    for share in plan.shares:
        parts = share.parts
        planned = parts.loaded if share.device.id == HOST else parts.needed
        seen = measured[share.device.id]
        error = planned / max(1, seen) - 1
        yield (
            options.ctx_size,
            options.cache_type.value,
            f"{layers} of {total}",
            share.device.backend.value,
            *(
                size / (1 << 20)
                for size in (parts.weights, parts.kv, parts.compute, planned, measured[share.device.id])
            ),
            f"{error:+.1%}",
            "" if abs(error) <= TARGET else f"more than {TARGET:.0%} off",
        )
