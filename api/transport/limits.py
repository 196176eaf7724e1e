"""What a connection may take before anybody knows who it is: bytes, seconds, and file descriptors."""

from __future__ import annotations

import sys

from msgspec import Struct

MOST_CONNECTIONS = 4096
FEWEST_CONNECTIONS = 8
SPARE_DESCRIPTORS = 64
"""Descriptors that models, downloads, logs and child processes need beside the connections."""
BACKLOG_CONNECTIONS = 2048


class ConnectionLimits(Struct, frozen=True):
    connections: int = MOST_CONNECTIONS
    """At once; beyond it the one that has waited longest without asking anything makes room."""
    backlog: int = BACKLOG_CONNECTIONS
    """Connections that the system may hold ready before they are taken."""
    head_bytes: int = 64 * 1024
    """Of the request line and the headers together; trailers and what frames a chunk may have as many."""
    headers: int = 128
    """Lines of headers."""
    target_bytes: int = 16 * 1024
    """Of a request's target."""
    pipelined: int = 16
    """Requests that may come before the one ahead of them is answered; those behind are left to be sent again."""
    head_seconds: float = 20.0
    """From the first byte of a request to the end of its headers, and from connecting to the first byte."""
    keep_alive_seconds: float = 75.0
    """Between two requests."""
    body_seconds: float = 30.0
    """Without a byte of the body; and after as many seconds it must have come at `body_rate`."""
    body_rate: int = 1024
    """Bytes a second."""
    write_seconds: float = 120.0
    """For which a client may read nothing of what is ready for it."""
    drain_seconds: float = 10.0
    """For which the rest of a body is taken that was answered before it was complete."""
    linger_seconds: float = 2.0
    """For which a client that was refused may go on sending, for a connection that is closed upon unread bytes is
    reset, and its client would not see the refusal."""
    linger_bytes: int = 64 * 1024 * 1024


def choose_limits(descriptors: int | None) -> ConnectionLimits:
    """Limits under which connections leave enough of the `descriptors` a process may have; None: there is no bound."""
    if descriptors is None:
        return ConnectionLimits()
    spare = max(SPARE_DESCRIPTORS, descriptors // 4)
    connections = min(MOST_CONNECTIONS, max(FEWEST_CONNECTIONS, descriptors - spare))
    # A burst is taken as a whole before any of it can be refused.
    return ConnectionLimits(
        connections=connections, backlog=max(FEWEST_CONNECTIONS, min(BACKLOG_CONNECTIONS, spare // 2))
    )


def count_descriptors() -> int | None:
    """How many files and sockets this process may have open at once; None where the system sets no such bound."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft in (resource.RLIM_INFINITY, -1) else soft
