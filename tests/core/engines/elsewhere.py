"""Servers elsewhere, as small as they get: a socket, and a script of what it says."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from core.chat.openai_body import UNTOLD
from core.contract.options import LoadOptions
from core.engines.remote.engine import RemoteEngine, RemoteModel
from core.models.resolve import resolve_own
from core.requests import ReasoningWish
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.fakes.support import asks

MODELS = {"object": "list", "data": [{"id": "far-model", "object": "model"}]}


@dataclass
class ServerExchange:
    """One request that came, and the way to answer it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    log: list["ServerExchange"] = field(repr=False)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, status: int, content: object, kind: str = "application/json", **headers: str) -> None:
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
        await self.raw(head.encode() + data)

    async def begin(self) -> None:
        """The head of a stream that ends with the connection."""
        await self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")

    async def event(self, content: object) -> None:
        await self.raw(b"data: " + json.dumps(content).encode() + b"\n\n")

    async def text(self, text: str, finish: str | None = None, **more: object) -> None:
        await self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish} | more]})

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        while await self.reader.read(1024):
            pass


Answer = Callable[[ServerExchange], Awaitable[None]]


@dataclass
class Elsewhere:
    url: str
    asked: list[ServerExchange]

    @property
    def bodies(self) -> list[Any]:
        return [exchange.body for exchange in self.asked if exchange.method == "POST"]


async def list_models(exchange: ServerExchange) -> None:
    await exchange.send(200, MODELS)


@asynccontextmanager
async def elsewhere(
    answer: Answer | None = None, models: Answer = list_models, port: int = 0
) -> AsyncIterator[Elsewhere]:
    """A server that answers GET with `models` and POST with `answer`, and closes the connection after each."""
    asked: list[ServerExchange] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            exchange = await _read(reader, writer, asked)
            asked.append(exchange)
            if exchange.method == "GET":
                await models(exchange)
            elif answer is not None:
                await answer(exchange)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    try:
        yield Elsewhere(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked)
    finally:
        server.close()


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: list[ServerExchange]
) -> ServerExchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return ServerExchange(method, path, headers, json.loads(content) if content else None, reader, writer, log)


async def answer_fully(exchange: ServerExchange) -> None:
    await exchange.begin()
    await exchange.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    await exchange.raw(b": keep-alive\r\n\r\n")
    await exchange.text("Hé")
    await exchange.raw(b'event: x\r\ndata: {"choices": [{"delta":\r\ndata: {"content": "llo"}}]}\r\n\r\n')
    await exchange.text("", "stop")
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
    await exchange.event({"choices": [], "usage": usage})
    await exchange.raw(b"data: [DONE]\n\n")


QUIET = asks("hello", "m", sampling=UNTOLD).resolved(UNTOLD)
"""A request whose client said nothing of sampling."""


async def load(url: str, options: LoadOptions = LoadOptions()) -> RemoteModel:
    return await asyncio.to_thread(RemoteEngine().load, resolve_own(url), options)


@asynccontextmanager
async def hosting(url: str, reasoning: ReasoningWish = ReasoningWish()) -> AsyncIterator[Host]:
    host = Host("m", lambda *_: LoadedModel(RemoteEngine().load(resolve_own(url), LoadOptions()), "remote"),
                max_queue=8, queue_timeout=60.0, slots=None, reasoning=reasoning)  # fmt: skip
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def gone(exchange: ServerExchange) -> None:
    async with asyncio.timeout(5):
        await exchange.gone()
