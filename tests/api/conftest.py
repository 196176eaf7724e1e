"""A real server over a real workbench, on a port of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from msgspec.structs import replace
from openai import AsyncOpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from api.server import HttpServer
from api.transport.limits import ConnectionLimits
from core.engines.registry import Engines
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, Folders, ProbeSettings, QueueSettings, ServerSettings, Settings
from core.workbench import Workbench

PATIENCE = 20.0
"""Seconds after which a test that waits gives up. No test depends on how long anything takes."""


@dataclass(frozen=True)
class Served:
    """A running server and what drives it."""

    server: HttpServer
    workbench: Workbench
    client: AsyncOpenAI
    http: httpx.AsyncClient

    async def complete(self, **fields: object) -> ChatCompletion:
        """An unstreamed reply by way of the SDK."""
        create: Any = self.client.chat.completions.create
        reply = await create(**chat_body(**fields))
        assert isinstance(reply, ChatCompletion)
        return reply

    async def chunks(self, **fields: object) -> list[ChatCompletionChunk]:
        """A whole stream by way of the SDK."""
        create: Any = self.client.chat.completions.create
        return [chunk async for chunk in await create(**chat_body(stream=True, **fields))]

    async def chat(self, **fields: object) -> httpx.Response:
        """POST /v1/chat/completions, with `model` and `messages` unless `fields` say otherwise."""
        return await self.http.post("/v1/chat/completions", json=chat_body(**fields))

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port)


def chat_body(**fields: object) -> dict[str, object]:
    return {"model": "echo", "messages": [{"role": "user", "content": "hello"}]} | fields


def user(content: object) -> list[dict[str, object]]:
    """The messages of a user who says one thing."""
    return [{"role": "user", "content": content}]


def usage_of(answer: ChatCompletion | ChatCompletionChunk) -> CompletionUsage:
    assert answer.usage is not None
    return answer.usage


def cached_of(answer: ChatCompletion) -> int:
    details = usage_of(answer).prompt_tokens_details
    assert details is not None
    return details.cached_tokens or 0


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)


async def exchange(served: Served, *parts: bytes, end: bool = False) -> bytes:
    """All that the server answers to these bytes until it closes, the first `100 Continue` included. `end`: close the
    sending half behind them."""
    reader, writer = await served.raw()
    try:
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            if end:
                writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


def raw_request(body: dict[str, object]) -> bytes:
    """The same as bytes for a socket."""
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def settings_of(
    server: ServerSettings = ServerSettings(port=0),
    queue: QueueSettings = QueueSettings(),
    model: ModelSettings = ModelSettings(),
) -> Settings:
    """Models load at once: which engine is fastest and whether it crashes are measured for no test of the wire."""
    at_once = replace(model, extra_buffers=False)
    untried = ProbeSettings(enabled=False)
    return Settings(server=server, queue=queue, model=at_once, bench=BenchSettings(enabled=False), probe=untried)


ENDLESS = ModelSettings(slots=1, ctx_size=16_777_216)
"""One slot and a context that no test can fill: with `ignore_eos`, a request runs until it is cancelled."""


def folders_in(path: Path) -> Folders:
    return Folders(config=path / "config", cache=path / "cache", state=path / "state")


@asynccontextmanager
async def serving(
    path: Path,
    settings: Settings | None = None,
    model: str | None = "echo",
    ping: float = 15.0,
    engines: Engines | None = None,
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[Served]:
    settings = settings_of() if settings is None else settings
    workbench = Workbench(settings, folders_in(path), engines)
    server = HttpServer(workbench, settings, ping=ping, limits=limits)
    try:
        if model is not None:
            await workbench.models.load(model)
        await server.start()
        url, key = server.url, server.api_key or "unused"
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=PATIENCE)
        async with client, httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            yield Served(server, workbench, client, http)
    finally:
        await server.stop(drain=0)
        await workbench.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when `condition` holds; fails when it never does."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def echo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The echo model, which says again what the user said last, one token a byte. Shared by tests that only ask."""
    async with serving(tmp_path_factory.mktemp("echo")) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def guide(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The built-in model."""
    settings = settings_of(model=ModelSettings(engine="llamacpp"))
    async with serving(tmp_path_factory.mktemp("guide"), settings, model="guide") as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The echo model with a template that knows thoughts and tools: what the user says is what the model writes."""
    engines = Engines({"echo": "tests.fakes.callers:CallingEcho"})
    settings = settings_of(model=ModelSettings(ctx_size=65_536))
    async with serving(tmp_path_factory.mktemp("caller"), settings, engines=engines) as served:
        yield served
