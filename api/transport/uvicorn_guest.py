"""uvicorn as a guest in a loop that others use too. Apart from `server`, so that uvicorn is imported only to serve."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import uvicorn
from litestar import Litestar

from api.transport.crowd import Crowd
from api.transport.limits import ConnectionLimits

DATE_SECONDS: Final = 1.0
"""How old the date in the answers' headers may be."""


class EmbeddedUvicorn(uvicorn.Server):
    """Leaves signals to the host, says when it listens, and bounds what connections may take."""

    def __init__(self, app: Litestar, limits: ConnectionLimits, largest_message: int, ping: float) -> None:
        """`largest_message`: bytes that one may have which comes over a WebSocket; `ping`: seconds between two pings of
        one."""
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http="httptools",
            loop="none",
            # `api.transport.connection` changes over to it.
            ws="none",
            ws_max_size=largest_message,
            ws_per_message_deflate=False,
            ws_ping_interval=ping,
            ws_ping_timeout=None,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        config.load()
        super().__init__(config)
        self.listening = asyncio.Event()
        self._ending = asyncio.Event()
        self._limits = limits

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._crowd = Crowd(self.config, self.server_state, self._limits)
        self.lifespan = self.config.lifespan_class(self.config)
        tending = asyncio.create_task(self._crowd.tend(), name="http-connections")
        try:
            await super().serve(sockets)
        finally:
            tending.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        connect, backlog = self._crowd.connect, self._limits.backlog
        self.servers = [await loop.create_server(connect, sock=each, backlog=backlog) for each in sockets or ()]
        self.started = True
        self.listening.set()

    async def main_loop(self) -> None:
        """uvicorn itself would look ten times a second whether it is to end."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._ending.wait()

    def end(self) -> None:
        """Take no more connections, and end `serve` when all that is under way has ended."""
        self.should_exit = True
        self._ending.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def cancel_requests(self) -> None:
        """Break off what is still being answered; the guard tells the clients so."""
        for task in list(self.server_state.tasks):
            task.cancel()

    def abandon(self) -> None:
        """Close every connection as it stands, for clients that neither read nor leave."""
        self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()
