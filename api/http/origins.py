"""Web pages that call the server: which may, and what their browsers are told (the Fetch standard, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from api.http.replies import Headers
from core.hosts import is_loopback
from core.settings.schema import LOCAL_ORIGINS, read_origin

EXPOSED = (b"x-request-id", b"request-id", b"retry-after", b"x-should-retry", b"x-benchtop-ignored")
"""Headers that pages may read; so may they all that begin with `OWN`."""
OWN = b"x-benchtop-"
METHODS = b"GET, HEAD, POST, DELETE"


def is_origin_allowed(origin: str, host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a page of `origin` may call.

    A page from the web can send a simple request to this machine without asking first, and though it cannot read the
    answer, it can make the model work. Pages served from this machine and applications with schemes of their own pass;
    "null" does not, for any page can make itself a frame of that origin.
    """
    if may_read(origin, allowed):
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return parts.netloc == host or _is_local(origin)
    return bool(parts.scheme)


def may_read(origin: str, allowed: tuple[str, ...]) -> bool:
    """Whether a page of `origin` may read answers too."""
    if "*" in allowed or (LOCAL_ORIGINS in allowed and _is_local(origin)):
        return True
    return origin in allowed and origin != LOCAL_ORIGINS


def _is_local(origin: str) -> bool:
    """Whether a page came from this machine, whatever its port."""
    scheme, _, rest = origin.partition("://")
    if scheme not in ("http", "https") or not rest or read_origin(origin) != origin:
        return False
    return is_loopback(urlsplit(origin).hostname or "")


def grant_headers(origin: bytes | None, allowed: tuple[str, ...], answer: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What an answer with these headers tells a browser. Never with credentials: the key travels in a header that pages
    must set themselves."""
    if not allowed:
        return ()
    vary = ((b"vary", b"origin"),)
    if origin is None or not may_read(origin.decode("latin-1"), allowed):
        return vary
    own = sorted({name for name, _ in answer if name.startswith(OWN)} - set(EXPOSED))
    exposed = b", ".join((*EXPOSED, *own))
    return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", exposed), *vary)


def grant_preflight(headers: Mapping[bytes, bytes]) -> Headers:
    """The answer to a browser that asks before it calls, on behalf of a page that may."""
    # SDKs send a dozen headers of their own, so what is asked for is what is allowed.
    asked = headers.get(b"access-control-request-headers", b"")
    granted = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", asked),
        (b"access-control-max-age", b"600"),
        (b"vary", b"access-control-request-method, access-control-request-headers"),
    ]
    # A page of the web that calls a machine behind it has to be told that this is meant.
    if headers.get(b"access-control-request-private-network") == b"true":
        granted.append((b"access-control-allow-private-network", b"true"))
    return tuple(granted)
