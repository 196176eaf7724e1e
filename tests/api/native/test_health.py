"""Whether /health tells the truth at every moment of a start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api.native.health import judge_health
from core.errors import BenchtopError
from core.workbench import Workbench
from tests.api.conftest import serving, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def watch_start(workbench: Workbench, *names: str) -> list[tuple[str, bool]]:
    """What /health says at each turn of the event loop, from the first moment until the first model is loaded or has
    failed, as `tui --serve` goes about it; the last entry is what it says afterwards."""
    told: list[tuple[str, bool]] = []

    def look() -> None:
        health, ready = judge_health(workbench.snapshot(), workbench.models.first_choice)
        told.append((health.status, ready))

    async def start() -> None:
        await workbench.models.serve(names)
        await workbench.models.load(names[0])

    workbench.models.expect(names)
    look()
    starting = asyncio.create_task(start())
    while not starting.done():
        look()
        await asyncio.sleep(0)
    if error := starting.exception():
        assert isinstance(error, BenchtopError)
    look()
    return told


async def test_until_the_first_model_is_loaded_it_is_loading_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path, model=None) as served:
        *before, after = await watch_start(served.workbench, "echo", "guide")
    while before[-1] == ("ok", True):
        # The load had ended, and who waited for it was not told yet.
        before.pop()
    assert set(before) == {("loading", False)}
    assert after == ("ok", True)


async def test_where_the_first_model_cannot_be_loaded_it_is_never_said_to_be_fine(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 64)
    async with serving(tmp_path, settings_of(), model=None) as served:
        told = await watch_start(served.workbench, str(file), "echo")
        answer = await served.http.get("/health")
    assert not any(ready for _, ready in told)
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text
