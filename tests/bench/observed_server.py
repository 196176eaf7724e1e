"""An echo server of its own for `tests.bench.observing`, observed as much as it is told.

    python -m tests.bench.observed_server FOLDER OBSERVING COLLECTOR

OBSERVING is the JSON of an `Observing`, COLLECTOR the address of one. It prints its port, and for each line of its
standard input the seconds of processor time that it has taken so far; it ends with that input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from api.server import HttpServer
from core.settings.capture import CaptureSettings
from core.settings.model import ModelSettings
from core.settings.schema import Folders, QueueSettings, ServerSettings, Settings
from core.settings.telemetry import TelemetrySettings
from core.settings.usage import UsageSettings
from core.workbench import Workbench

SLOTS: Final = 32
CAPTURED: Final = 1000
"""Requests that are kept."""


class Observing(Struct, frozen=True):
    """What observes a server."""

    words: str
    counted: bool = True
    """As every server's requests are: for metrics, and their times for `/v1/requests/{id}`."""
    ledger: bool = False
    traced: bool = False
    captured: bool = False


class ObservedServer:
    """The other end of such a process."""

    def __init__(self, child: asyncio.subprocess.Process, port: int) -> None:
        self._child = child
        self.port = port

    async def read_cpu_seconds(self) -> float:
        """Of all its threads so far."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        return float(await self._child.stdout.readline())


@asynccontextmanager
async def run_observed(folder: Path, observing: Observing, collector: str) -> AsyncIterator[ObservedServer]:
    """Keeps what it keeps below `folder`; `collector`: the address of one."""
    told = msgspec.json.encode(observing).decode()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.observed_server", str(folder), told, collector),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield ObservedServer(child, int(await child.stdout.readline()))
    finally:
        child.stdin.close()
        await child.wait()


@asynccontextmanager
async def serve_observed(folder: Path, observing: Observing, collector: str) -> AsyncIterator[tuple[Workbench, str]]:
    """The same in this process: the workbench and its server's address."""
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=0),
        # A guess that comes true would make one event of several tokens.
        model=ModelSettings(ctx_size=16_384, slots=SLOTS, draft="none"),
        telemetry=TelemetrySettings(url=collector if observing.traced else None),
        usage=UsageSettings(enabled=observing.ledger),
        capture=CaptureSettings(requests=CAPTURED if observing.captured else 0),
    )
    workbench = Workbench(settings, Folders(folder, folder, folder))
    if not observing.counted:
        workbench.requests._reports._observers.clear()
    await workbench.models.load("echo")
    server = HttpServer(workbench, settings)
    await server.start()
    try:
        yield workbench, server.url
    finally:
        await server.stop()
        await workbench.close()


async def main(folder: str, told: str, collector: str) -> None:
    observing = msgspec.json.decode(told, type=Observing)
    async with serve_observed(Path(folder), observing, collector) as (_, url):
        print(url.rpartition(":")[2], flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(time.process_time(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
