"""The workbench in a process of its own that loads a model again and again, for `tests.bench.cards`.

It reads a `LoadsRequest` as a line of JSON and prints a `SeenLoad` for each load. Behind the last one the model is
served until another line comes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from api.server import HttpServer
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceBuffers, Placement
from core.decoding.speculate import NOTHING
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import BenchtopError
from core.kept import load_kept
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, PoolSettings, QueueSettings, ServerSettings, Settings
from core.trial.placing import PlacementVerdict
from core.workbench import Workbench
from tests.fakes.support import folders_in


class LoadsRequest(Struct, frozen=True):
    model: str
    home: str
    """A folder for what is kept."""
    options: LoadOptions
    memory_limit: str
    """As the settings have it."""
    loads: int


class SeenLoad(Struct, frozen=True):
    """What came of one load."""

    refused: str = ""
    """Why nothing is loaded."""
    placement: Placement = Placement()
    tried: int = 0
    """Placements that did not hold in the trial run."""
    buffers: tuple[DeviceBuffers, ...] = ()
    """As llama.cpp tells them."""
    missing: Mapping[str, int] = {}
    """Bytes that devices tell to be free less than before."""
    port: int = 0
    name: str = ""
    """Where and as what it is served, behind the last load."""


async def load_again(asked: LoadsRequest, out: int) -> None:
    options = asked.options
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=0),
        # Random weights repeat themselves, and nobody else here guesses.
        model=ModelSettings(draft=NOTHING, rpc=options.rpc, gpu_layers=options.gpu_layers),
        pool=PoolSettings(memory_limit=asked.memory_limit or None),
        bench=BenchSettings(enabled=False),
    )
    home = folders_in(Path(asked.home))
    workbench = Workbench(settings, home, options=options)
    server = HttpServer(workbench, settings)
    try:
        for number in range(asked.loads):
            before = LlamaCppEngine().measure_free(options)
            try:
                name = await workbench.models.load(asked.model)
            except BenchtopError as error:
                _tell(out, SeenLoad(refused=str(error)))
                continue
            after = LlamaCppEngine().measure_free(options)
            verdict = _find_verdict(home.cache / "placements")
            seen = SeenLoad(
                placement=verdict.placement if verdict else Placement(),
                tried=len(verdict.failures) if verdict else 0,
                buffers=tuple(each for each in workbench.models.spec(name).buffers if each.device != HOST),
                missing={device: free - after.get(device, free) for device, free in before.items()},
            )
            if number + 1 == asked.loads:
                await server.start()
                port = int(server.url.rpartition(":")[2].strip("/"))
                _tell(out, msgspec.structs.replace(seen, port=port, name=name))
                await asyncio.to_thread(sys.stdin.readline)
                await server.stop(drain=0)
            else:
                _tell(out, seen)
                await workbench.models.unload(name)
    finally:
        await workbench.close()


def _find_verdict(folder: Path) -> PlacementVerdict | None:
    """That of the last trial run; None where nothing lies on a device."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    return load_kept(files[-1], PlacementVerdict) if files else None


def _tell(out: int, seen: SeenLoad) -> None:
    os.write(out, msgspec.json.encode(seen) + b"\n")


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)
    began = time.monotonic()
    asyncio.run(load_again(msgspec.json.decode(sys.stdin.readline(), type=LoadsRequest), out))
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
