"""Whether a client wants results that were computed before."""

from __future__ import annotations

from typing import Final

from litestar import Request
from litestar.datastructures import State

FRESH: Final = ("no-cache", "no-store")
"""Words of a Cache-Control (RFC 9111, section 5.2.1) by which a client does not."""


def read_cache_wish(request: Request[object, object, State], told: bool | None) -> bool:
    """`told` is what the body says, which goes before the header."""
    if told is not None:
        return told
    said = request.headers.get("cache-control", "").lower()
    return not any(word in said for word in FRESH)
