"""One WebSocket: uvicorn's protocol, bounded in all that a stranger may send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from api.http.sockets import KEY, SocketWork
from api.transport.half_closed import HalfClosed
from api.transport.limits import ConnectionLimits
from api.transport.rank import Rank
from api.transport.stalling import StallWatch

LONGEST_LINE_BYTES: Final = 8000
"""Of a head that asks for a WebSocket; the library behind it takes no longer ones."""
MOST_HEADERS: Final = 100
"""Lines, for the same reason."""
MOST_FRAGMENTS: Final = 4096
"""Of one message: empty ones would add nothing to its size."""


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Tells `left` when it has ended. A client that does not answer pings is not ended for it: it may be busy, and the
    system finds out whether it is there."""

    half_closed: HalfClosed | None = None
    """There is no half of a WebSocket."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: ConnectionLimits,
        left: Callable[[WebSocketConnection], None],
    ) -> None:
        self.work = SocketWork()
        super().__init__(config, state, {KEY: self.work}, asyncio.get_running_loop())
        self._left = left
        self._since = self.loop.time()
        self._stalled = StallWatch(limits.write_seconds)
        self._ending = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._left(self)

    def handle_text(self, event: Frame) -> None:
        self._since = self.loop.time()
        super().handle_text(event)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MOST_FRAGMENTS:
            self.conn.fail(CloseCode.POLICY_VIOLATION, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:
            # Of a head that is none, nothing can be told over the protocol that it asks for.
            self.transport.close()
        elif not self.close_sent:
            super().handle_parser_exception()

    def shutdown(self) -> None:
        if self.work.is_busy:
            self._ending = True
        else:
            super().shutdown()

    # What the crowd asks, once in a while.

    @property
    def rank(self) -> tuple[int, float]:
        return (Rank.BUSY if self.work.is_busy else Rank.IDLE).value, self._since

    @property
    def is_busy(self) -> bool:
        return self.work.is_busy

    def make_room(self) -> None:
        self.transport.abort()

    def check(self, now: float) -> None:
        """End it if its client reads nothing of what is ready for it, or if the server stops and it has ended."""
        if self._stalled.has_stalled(self.transport, now):
            self.transport.abort()
        elif self._ending and not self.work.is_busy:
            self._ending = False
            super().shutdown()

    def look_for_client(self, now: float) -> None:
        """There is nothing to look for."""
