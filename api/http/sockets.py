"""What the transport and the application of a WebSocket tell one another beside ASGI's messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

KEY = "socket_work"
"""Where a WebSocket's state holds its work."""


class SocketWork:
    """What is being answered over one WebSocket: a server that stops lets it end, and only idle ones make room."""

    def __init__(self) -> None:
        self._running = 0

    @property
    def is_busy(self) -> bool:
        return self._running > 0

    @contextmanager
    def run(self) -> Iterator[None]:
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
