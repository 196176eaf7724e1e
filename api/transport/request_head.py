"""What the first lines of a request must be, beyond what the parser of bytes demands."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import httptools
from msgspec import Struct

from api.transport.refused import BAD_TARGET, MALFORMED, NO_HOST, NO_SUCH_VERSION, UNKNOWN_CODING, RequestRefused

HeaderList = list[tuple[bytes, bytes]]


class Target(Struct, frozen=True):
    raw_path: bytes
    path: str
    query: bytes
    host: bytes | None
    """Of a target that is a whole address: then this counts, and no Host header does."""


def check_head(version: str, method: bytes, headers: HeaderList) -> None:
    """Raises RequestRefused. Names of `headers` are in small letters.

    Any coding but chunked alone, and any in HTTP/1.0, leaves it open where the body ends (RFC 9112, section 6.1).
    """
    if version not in ("1.0", "1.1"):
        raise RequestRefused(NO_SUCH_VERSION)
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and version == "1.0":
        raise RequestRefused(MALFORMED)
    if codings and codings != [b"chunked"]:
        raise RequestRefused(UNKNOWN_CODING)
    if method == b"CONNECT":
        raise RequestRefused(BAD_TARGET)
    if version == "1.1" and not any(name == b"host" for name, _ in headers):
        raise RequestRefused(NO_HOST)


def find_framing(headers: HeaderList) -> bytes | None:
    """The header line that says where the body ends; None where there is no body."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            return b"%b: %b" % (name, value)
    return None


def is_websocket_offer(version: str, method: bytes, headers: HeaderList) -> bool:
    """Whether a request without a body offers that protocol, and no other (RFC 6455, section 4.1)."""
    offered = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    return version == "1.1" and method == b"GET" and offered == [b"websocket"] and find_framing(headers) is None


def read_target(url: bytes) -> Target:
    """Raises RequestRefused for what is neither a path nor a whole address (RFC 9112, section 3.2)."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise RequestRefused(BAD_TARGET) from None
    path, host = parsed.path or b"/", None
    if not url.startswith((b"/", b"*")):
        if parsed.schema is None or parsed.schema.lower() not in (b"http", b"https"):
            raise RequestRefused(BAD_TARGET)
        if not parsed.host or parsed.userinfo is not None:
            raise RequestRefused(BAD_TARGET)
        host = b"[%b]" % parsed.host if b":" in parsed.host else parsed.host
        host = host if parsed.port is None else b"%b:%d" % (host, parsed.port)
    return Target(path, unquote_to_bytes(path).decode("utf-8", "replace"), parsed.query or b"", host)
