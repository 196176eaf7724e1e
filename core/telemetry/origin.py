"""Where a request came in. It goes with the task that brings the request, so that no dialect has to hand it on."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

_TRACEPARENT: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_UNKNOWN_VERSION: Final = b"ff"
_SAMPLED_MODE: Final = 1


class TraceParent(Struct, frozen=True):
    """The span of a client that a request belongs to."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes."""
    sampled: bool
    """Whether the client keeps its own span; one that does not wants none from here."""


class RequestOrigin(Struct, frozen=True):
    endpoint: str = ""
    """The path of the request, without what repeats or ends it; empty for one that came by no server."""
    parent: TraceParent | None = None


NO_ORIGIN: Final = RequestOrigin()
request_origin: ContextVar[RequestOrigin] = ContextVar("request_origin", default=NO_ORIGIN)
"""Set where a request enters; tasks that are started for it inherit it."""


def parse_traceparent(value: bytes) -> TraceParent | None:
    """What a `traceparent` header names; None for none and for what is none.

    W3C Trace Context, section 3.2: ids of zeros are none, and later versions may have more behind the flags.
    """
    found = _TRACEPARENT.fullmatch(value.strip())
    if found is None or found["version"] == _UNKNOWN_VERSION or (found["version"] == b"00" and found["more"]):
        return None
    trace, span = bytes.fromhex(found["trace"].decode()), bytes.fromhex(found["span"].decode())
    if not any(trace) or not any(span):
        return None
    return TraceParent(trace, span, bool(int(found["flags"], 16) & _SAMPLED_MODE))
