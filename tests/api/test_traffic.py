"""Mixed traffic, much of it left by its clients: at rest nothing is left of it.

`python -m tests.bench soak` is the same for minutes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx
import pytest
from msgspec.structs import replace

from core.settings.model import ModelSettings
from core.settings.schema import CacheSettings
from tests.api.conftest import PATIENCE, serving, settings_of
from tests.fakes.traffic import Traffic, count_at_rest, is_at_rest

pytestmark = pytest.mark.asyncio(loop_scope="session")
CLIENTS, ACTS = 5, 14


async def until_at_rest(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def list_threads_of_models(others: set[threading.Thread]) -> list[str]:
    """Names, without those of `others`."""
    ours = [each.name for each in threading.enumerate() if each not in others]
    return [name for name in ours if name.startswith(("model guide", "template guide"))]


async def test_traffic_of_all_kinds_leaves_nothing_behind(tmp_path: Path) -> None:
    model = ModelSettings(engine="llamacpp", ctx_size=1024, slots=3, threads=1, batch_threads=1, draft="prompt-lookup")
    settings = replace(settings_of(model=model), cache=CacheSettings(size=20, disk_size="50MB", disk_min_tokens=16))
    others = set(threading.enumerate())
    async with serving(tmp_path, settings, model="guide") as served:
        workbench = served.workbench

        async def play(seed: int, acts: int) -> None:
            async with httpx.AsyncClient(base_url=served.server.url, timeout=PATIENCE) as http:
                client = Traffic(http, "guide", Random(seed))
                for number in range(acts):
                    await client.act()
                    if seed == 0 and number == acts // 2:
                        await client.reload()
                assert not client.odd
                # One of them has the model loaded anew.
                assert (await http.get("/health")).json()["status"] in ("ok", "loading")

        await play(99, 1)
        await until_at_rest(lambda: is_at_rest(workbench))
        tasks = count_at_rest(workbench, tmp_path).tasks
        await asyncio.gather(*(play(seed, ACTS) for seed in range(CLIENTS)))
        await until_at_rest(lambda: is_at_rest(workbench))
        await until_at_rest(lambda: count_at_rest(workbench, tmp_path).tasks <= tasks)
        left = count_at_rest(workbench, tmp_path)
        assert (left.stray_sequences, left.cells, left.requests, left.seats) == (0, 0, 0, 0)
        await workbench.models.unload("guide")
        # The thread that wrote prompts ends by itself.
        await until_at_rest(lambda: not list_threads_of_models(others))
        # What the model left is written on a thread of the store's.
        await until_at_rest(lambda: count_at_rest(workbench, tmp_path).temporary == 0)
