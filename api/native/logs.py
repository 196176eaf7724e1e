"""GET /v1/logs: what was said of the models, by their engines and loops; as it is said, where events are asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct
from msgspec.structs import replace

from api.http.answer import HEADERS, PING, frame_event
from api.http.contract import EVENTS, JSON, RouteReply, declare_contract
from api.http.live import LiveStreams
from api.http.redact import drop_folders
from api.http.replies import JsonReply
from core.errors import Busy, ModelNotFound
from core.names import shorten_name
from core.telemetry.model_log import ModelLine
from core.workbench import Workbench

MOST_FOLLOWERS: Final = 32
MOST_UNREAD_LINES: Final = 2_000
"""Of one follower; of those that it is too slow for, the oldest are lost, and it is told how many."""
RETRY_SECONDS: Final = 10
ENCODER: Final = msgspec.json.Encoder()


class LogPage(Struct, frozen=True):
    """The oldest line first."""

    lines: list[ModelLine]


class LostLines(Struct, frozen=True):
    """In place of lines that came faster than they were read."""

    lost: int


class LogFollower:
    """An ASGI application that tells the lines there are, and then each as it is written, until either side ends."""

    def __init__(self, workbench: Workbench, live: LiveStreams, model: str | None, ping: float) -> None:
        self._workbench = workbench
        self._live = live
        self._model = model
        self._ping = ping
        self._unread: deque[ModelLine] = deque()
        self._lost = 0
        self._told = asyncio.Event()
        self._over = False
        self._loop = asyncio.get_running_loop()

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        logs = self._workbench.logs
        with logs.following(self._hear), self._live.watch(self._end):
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            # What was written since it began to follow would be told twice.
            self._unread.clear()
            self._unread.extend(logs.read_lines(self._model))
            leaving = asyncio.create_task(self._await_leaving(receive))
            try:
                while not self._over:
                    data = await self._take() or PING
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    await self._wait()
            finally:
                leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _take(self) -> bytes:
        lines, self._unread = self._unread, deque()
        lost, self._lost = self._lost, 0
        told: list[ModelLine | LostLines] = [LostLines(lost)] if lost else []
        told.extend(await _redact_lines(self._workbench, lines))
        return b"".join(frame_event(ENCODER.encode(each)) for each in told)

    async def _wait(self) -> None:
        """For lines, for the end, or for the time of a ping."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ping):
                await self._told.wait()
        self._told.clear()

    async def _await_leaving(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end()

    def _end(self) -> None:
        self._over = True
        self._told.set()

    def _hear(self, line: ModelLine) -> None:
        """From the thread that writes the line."""
        if self._model is None or line.model == self._model:
            # The server's event loop may be closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._add, line)

    def _add(self, line: ModelLine) -> None:
        if len(self._unread) >= MOST_UNREAD_LINES:
            self._unread.popleft()
            self._lost += 1
        self._unread.append(line)
        self._told.set()


def build_logs_route(workbench: Workbench, live: LiveStreams, *, ping: float) -> HTTPRouteHandler:
    @get(
        "/v1/logs",
        summary="What was said of the models, by their engines and by what serves them",
        opt=declare_contract(
            RouteReply(
                "The lines that are kept; with `Accept: text/event-stream`, and those to come",
                {JSON: LogPage, EVENTS: ModelLine},
            ),
            outcomes=(ModelNotFound, Busy),
            admin=True,
            parameters={"model": {"description": "of this one alone"}},
        ),
    )
    async def tell_logs(request: Request[object, object, State], model: FromQuery[str | None] = None) -> ASGIApp:
        named = None if model is None else find_logged(workbench, model)
        if "text/event-stream" in request.headers.get("accept", ""):
            if live.watching >= MOST_FOLLOWERS:
                raise Busy("telling its logs", live.watching, RETRY_SECONDS)
            return LogFollower(workbench, live, named, ping)
        return JsonReply(ENCODER.encode(LogPage(await _redact_lines(workbench, workbench.logs.read_lines(named)))))

    return tell_logs


async def _redact_lines(workbench: Workbench, lines: Collection[ModelLine]) -> list[ModelLine]:
    """The lines without folders of this machine. On a thread, as there may be many."""
    paths = workbench.models.paths

    def redact() -> list[ModelLine]:
        return [replace(line, text=drop_folders(line.text, paths)) for line in lines]

    return await workbench.lanes.writing.run(redact) if lines else []


def find_logged(workbench: Workbench, asked: str) -> str:
    """The name by which a model's lines are kept. Raises ModelNotFound where nothing was ever said of such a one."""
    name = workbench.models.find_served(asked) or asked
    if workbench.models.find_served(asked) is None and not workbench.logs.read_lines(name):
        there = workbench.models.names_in_words
        raise ModelNotFound(asked, f"Nothing was said of a model {shorten_name(asked)}; served here: {there}.")
    return name
