"""A server of its own for `tests.bench.soak`: it says what it holds whenever a line comes on its standard input.

Its arguments are the folder that it may write to, the model, and an embedder or nothing.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import msgspec

from api.server import HttpServer
from core.settings.model import ModelSettings
from core.settings.schema import CacheSettings, ProbeSettings, QueueSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.fakes.traffic import count_at_rest, is_at_rest

REST_SECONDS = 3.0
"""For what ends behind the last request: connections, files that are written, threads."""


async def serve(folder: Path, model: str, embedder: str) -> None:
    settings = Settings(
        server=ServerSettings(port=0),
        queue=QueueSettings(max_queue=64),
        model=ModelSettings(
            ctx_size=2048, slots=4, threads=1, batch_threads=1, extra_buffers=False, draft="prompt-lookup"
        ),
        cache=CacheSettings(size=30, disk_size="100MB", disk_min_tokens=16),
        probe=ProbeSettings(enabled=False),
    )
    workbench = Workbench(settings, folders_in(folder))
    server = HttpServer(workbench, settings)
    names = [await workbench.models.load(name) for name in (model, embedder) if name]
    await server.start()
    print(msgspec.json.encode([server.url, *names]).decode(), flush=True)
    orders = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    while orders.strip():
        while not is_at_rest(workbench):
            await asyncio.sleep(0.05)
        await asyncio.sleep(REST_SECONDS)
        loaded = count_at_rest(workbench, folder)
        for name in names:
            await workbench.models.unload(name)
        await asyncio.sleep(REST_SECONDS)
        gc.collect()
        print(msgspec.json.encode([loaded, count_at_rest(workbench, folder)]).decode(), flush=True)
        for name in (model, embedder):
            if name:
                await workbench.models.load(name)
        orders = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await server.stop(drain=0)
    await workbench.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
