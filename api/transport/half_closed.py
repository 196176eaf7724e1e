"""A client that has sent its last byte and may wait for its answer, or may have left."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api.transport.far_end import FarEnd, find_far_end, is_reset

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Clients skip it (RFC 9110, section 15.2), and one that has left answers it with a reset."""
INTERIM_AFTER_SECONDS = (1.0, 15.0, 30.0, 60.0)
"""Seconds after the last byte of a client of which this system knows nothing."""


class HalfClosed:
    """`since` is the loop's time of the client's last byte."""

    def __init__(self, transport: asyncio.Transport, since: float) -> None:
        self.since = since
        self._transport = transport
        self._interims = 0

    def look(self, cycle: RequestResponseCycle | None, now: float) -> None:
        """End the connection if its client has left; else make it show, where nothing tells whether it has."""
        if self._transport.is_closing():
            return
        if is_reset(find_descriptor(self._transport)):
            self._transport.abort()
            return
        match find_far_end(*self._addresses()):
            case FarEnd.LEFT:
                self._transport.abort()
            case FarEnd.UNKNOWN if cycle is not None:
                self._say_something(cycle, now)

    def _say_something(self, cycle: RequestResponseCycle, now: float) -> None:
        due = self._interims < len(INTERIM_AFTER_SECONDS) and now - self.since >= INTERIM_AFTER_SECONDS[self._interims]
        # Clients of HTTP/1.0 know no interim answers, and an answer that has begun tells by itself.
        if due and not cycle.response_started and cycle.scope["http_version"] == "1.1":
            self._interims += 1
            self._transport.write(INTERIM)

    def _addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        ours, theirs = (self._transport.get_extra_info(name) for name in ("sockname", "peername"))
        return (str(ours[0]), int(ours[1])), (str(theirs[0]), int(theirs[1]))


def find_descriptor(transport: asyncio.Transport) -> int:
    """-1 for one that has none any more."""
    socket = transport.get_extra_info("socket")
    return -1 if socket is None else int(socket.fileno())
