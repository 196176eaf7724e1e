"""Clients that read nothing of what is ready for them."""

from __future__ import annotations

import asyncio


class StallWatch:
    """Of one connection. `seconds`: for how long nothing may be read."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._unwritten = (0, 0.0)

    def has_stalled(self, transport: asyncio.Transport, now: float) -> bool:
        """Asked once in a while; `now` is the loop's time."""
        size, since = self._unwritten
        waiting = transport.get_write_buffer_size()
        if waiting == 0 or waiting != size:
            self._unwritten = (waiting, now)
            return False
        return now - since > self._seconds
