"""Connections are looked after while there are any."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api.transport.crowd import TICK_SECONDS, Crowd
from tests.api.conftest import serving, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_server_that_nobody_is_connected_to_looks_after_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Crowd] = []
    look = Crowd._look

    def count(crowd: Crowd, thoroughly: bool) -> None:
        looks.append(crowd)
        look(crowd, thoroughly)

    monkeypatch.setattr(Crowd, "_look", count)
    async with serving(tmp_path) as served:
        assert served.server._uvicorn is not None
        crowd = served.server._uvicorn._crowd
        await asyncio.sleep(3 * TICK_SECONDS)
        assert crowd not in looks
        _, writer = await served.raw()

        async def looked_after() -> bool:
            return crowd in looks

        await until(looked_after)
        writer.close()
