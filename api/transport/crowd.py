"""All connections of a server: how many there may be, and which of them have had their time."""

from __future__ import annotations

import asyncio

from uvicorn.config import Config
from uvicorn.server import ServerState

from api.transport.connection import Connection
from api.transport.limits import ConnectionLimits
from api.transport.websocket import WebSocketConnection
from core.telemetry.log import get_logger

TICK_SECONDS = 0.1
CHECK_TICKS = 5

log = get_logger(__name__)


class Crowd:
    def __init__(self, config: Config, state: ServerState, limits: ConnectionLimits) -> None:
        self._config = config
        self._state = state
        self._limits = limits
        self._all: set[Connection | WebSocketConnection] = set()
        self._come = asyncio.Event()
        """Somebody is connected, or was a moment ago."""

    def connect(self) -> Connection:
        """A protocol for a connection that was just taken."""
        return Connection(self._config, self._state, self._limits, self._admit, self._all.discard, self._upgrade)

    def _upgrade(self) -> WebSocketConnection:
        """A protocol for a connection that leaves HTTP."""
        taker = WebSocketConnection(self._config, self._state, self._limits, self._all.discard)
        self._add(taker)
        return taker

    async def tend(self) -> None:
        """Look after all connections, until cancelled. While there are none, nothing wakes the process."""
        ticks = 0
        while True:
            if not self._all:
                self._come.clear()
                await self._come.wait()
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            try:
                self._look(ticks % CHECK_TICKS == 0)
            except Exception as error:  # noqa: BLE001 - one bad connection must not leave the others unattended
                log.error("a connection could not be checked", cause=error)

    def _look(self, thoroughly: bool) -> None:
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._all):
            if thoroughly:
                connection.check(now)
            half = connection.half_closed
            # What the system knows may come a moment after the client's last byte.
            if half is not None and (thoroughly or now - half.since < 1):
                connection.look_for_client(now)

    def _admit(self, newcomer: Connection) -> bool:
        """Whether there is room, which is made by who has waited longest without asking anything."""
        if len(self._all) >= self._limits.connections:
            first = min(self._all, key=lambda each: each.rank)
            if first.is_busy:
                if len(self._all) > self._limits.connections:
                    newcomer.make_room()
                self._add(newcomer)
                return False
            self._all.discard(first)
            first.make_room()
        self._add(newcomer)
        return True

    def _add(self, connection: Connection | WebSocketConnection) -> None:
        self._all.add(connection)
        self._come.set()
