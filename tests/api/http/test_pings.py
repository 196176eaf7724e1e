"""While a prompt is computed a stream says that it lives, by the clock, in every dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from core.engines.registry import Engines
from core.settings.model import ModelSettings
from tests.api.conftest import Served, serving, settings_of, user

PING_SECONDS = 0.02
LONG = "A prompt that takes its time. " * 200
"""6,000 tokens, in twelve steps of fifty milliseconds."""
ASKED: Mapping[str, tuple[dict[str, object], bytes]] = {
    "/v1/chat/completions": ({"messages": user(LONG), "max_tokens": 2}, b": ping\n\n"),
    "/v1/completions": ({"prompt": LONG, "max_tokens": 2}, b": ping\n\n"),
    "/v1/responses": ({"input": LONG, "max_output_tokens": 16}, b": ping\n\n"),
    "/v1/messages": ({"messages": user(LONG), "max_tokens": 2}, b'event: ping\ndata: {"type":"ping"}\n\n'),
    "/completion": ({"prompt": LONG, "n_predict": 2}, b": ping\n\n"),
}
"""What asks for a stream, and the frame that says so."""


def slow(tmp_path: Path) -> Any:
    engines = Engines({"echo": "tests.fakes.brooding:ReadingEngine"})
    return serving(tmp_path, settings_of(model=ModelSettings(ctx_size=16_384)), engines=engines, ping=PING_SECONDS)


async def read_stream(served: Served, path: str, body: Mapping[str, object]) -> bytes:
    async with served.http.stream("POST", path, json={"model": "echo", "stream": True, **body}) as answer:
        content = await answer.aread()
        assert answer.status_code == 200, content
        return content


async def test_a_long_prompt_is_waited_for_with_pings_in_every_dialect(tmp_path: Path) -> None:
    async with slow(tmp_path) as served:
        for number, (path, (body, ping)) in enumerate(ASKED.items()):
            content = await read_stream(served, path, {**body, "cache_salt": str(number)})
            assert content.count(ping) > 3, path
            # None stands in the middle of another event.
            events = content.split(b"\n\n")
            assert all(event == b"" or event.startswith((b"data: ", b"event: ", b": ping")) for event in events), path


async def test_a_websocket_is_pinged_meanwhile(tmp_path: Path) -> None:
    async with slow(tmp_path) as served:
        pings = 0
        address = served.server.url.replace("http", "ws")
        async with connect(f"{address}/v1/responses") as socket:
            protocol = socket.protocol
            take = protocol.recv_frame

            def count(frame: Any) -> None:
                nonlocal pings
                pings += frame.opcode.name == "PING"
                take(frame)

            protocol.recv_frame = count  # type: ignore[method-assign]
            create = {"type": "response.create", "model": "echo", "input": LONG, "max_output_tokens": 16}
            await socket.send(json.dumps(create))
            async with asyncio.timeout(20):
                while json.loads(await socket.recv())["type"] != "response.incomplete":
                    pass
        assert pings > 3
