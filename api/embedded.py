"""uvicorn as a guest in a loop that others use too. Apart from `server`, so that uvicorn is imported only to serve."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar

KEEP_ALIVE_SECONDS = 75


class EmbeddedUvicorn(uvicorn.Server):
    """Leaves signals to the host, and says when it listens."""

    def __init__(self, app: Litestar, backlog: int) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=backlog,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def abandon(self) -> None:
        """Close every connection as it stands, for clients that neither read nor leave."""
        self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()
