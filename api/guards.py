"""What every request passes before a route sees it: its id, the Host and Origin it claims, its key, its log line."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, Denied, refusal
from api.loopback import is_loopback
from api.replies import Headers, send_bytes
from core.config import ServerSettings, host_name
from core.errors import BenchtopError
from core.telemetry.log import get_logger
from core.telemetry.log import request_id as request_id_in_log

OPEN_PATHS = frozenset({"/health"})
"""Answered without a key: load balancers and process managers have none."""

EXPOSED = b"x-request-id, retry-after, x-benchtop-ignored, x-benchtop-model, x-benchtop-route"
"""Headers of answers that pages may read."""

LONGEST_LENGTH = 18
"""Digits of a Content-Length that may still be true."""

_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_WANTED = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"x-api-key",
        b"x-request-id",
        b"content-length",
        b"access-control-request-method",
        b"access-control-request-headers",
    }
)

log = get_logger(__name__)


def tenant_of(key: bytes) -> str:
    """A short digest that tells keys apart without holding them; "" where none was sent."""
    return hashlib.sha256(key).hexdigest()[:16] if key else ""


def presented_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key of `Authorization: Bearer` or `x-api-key`, or b""."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token else headers.get(b"x-api-key", b"")


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's id where it is sane, else a fresh one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _SANE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def origin_allowed(origin: str, host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a page of `origin` may call.

    A page from the web can send a simple request to this machine without asking first, and though it cannot read the
    answer, it can make the model work. Pages served from this machine and applications with schemes of their own pass;
    "null" does not, for any page can make itself a frame of that origin.
    """
    if "*" in allowed or origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return parts.netloc == host or is_loopback(parts.hostname or "")
    return bool(parts.scheme)


class Guard:
    """Wraps the whole application, its own 404s included."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, limits: Mapping[str, int] | None = None) -> None:
        """`limits`: bytes that a body may have at some paths, where that is not `max_body`."""
        self._app = app
        self._key = None if settings.api_key is None else settings.api_key.encode()
        self._local = is_loopback(settings.host)
        bound = f"[{settings.host}]" if ":" in settings.host and "[" not in settings.host else settings.host
        self._names = frozenset(map(host_name, (*_LOCAL_NAMES, bound, *settings.allowed_hosts))) - {""}
        self._origins = settings.cors_origins
        self._limit = settings.max_body
        self._limits = limits or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            # No route takes WebSockets, and one that comes to must not find the door open.
            await send({"type": "websocket.close", "code": 1008, "reason": "WebSockets are not served here."})
            return
        headers = {name: value for name, value in scope["headers"] if name in _WANTED}
        identity = request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = identity
        state["tenant"] = tenant_of(presented_key(headers))
        request_id_in_log.set(identity)
        path, method = scope["path"], scope["method"]
        cors = self._cors(headers)
        started = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                nonlocal status
                status = message["status"]
                # The workbench may have called it otherwise meanwhile, as another one went by that id already.
                named = (b"x-request-id", str(state["request_id"]).encode())
                message["headers"] = [*message["headers"], named, *cors]
            await send(message)

        try:
            await self._pass(scope, receive, send_on, headers)
        finally:
            request_id_in_log.set(str(state["request_id"]))
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            log.info("request", method=method, path=_legible(path), status=status, ms=milliseconds)

    async def _pass(self, scope: HTTPScope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]) -> None:
        if self._is_preflight(scope["method"], headers):
            await send_bytes(send, 200, b"text/plain", b"", _preflight(headers))
            return
        try:
            self._check(scope["path"], headers)
        except BenchtopError as error:
            refused = refusal(error)
            encoded = tuple((name.encode(), value.encode()) for name, value in refused.headers)
            await send_bytes(send, refused.status, b"application/json", refused.encode(), encoded)
            return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises Denied or BodyTooLarge."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self._local and host_name(host) not in self._names:
            raise Denied(
                403,
                "host_not_allowed",
                f"The Host header {host[:100]!r} does not name this machine; "
                "ask for localhost or 127.0.0.1, add the name to allowed_hosts in its config, or bind another address "
                "with --host.",
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and not origin_allowed(origin, host, self._origins):
            raise Denied(
                403,
                "origin_not_allowed",
                f"Pages from {origin[:100]!r} may not call this server; add the origin to cors_origins in its config.",
            )
        if self._key is not None and path not in OPEN_PATHS:
            _check_key(self._key, presented_key(headers))
        length = headers.get(b"content-length", b"")
        limit = self._limits.get(path, self._limit)
        # Python refuses to read numbers of thousands of digits.
        if length.isdigit() and (len(length) > LONGEST_LENGTH or int(length) > limit):
            raise BodyTooLarge(limit)

    def _is_preflight(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        return method == "OPTIONS" and b"access-control-request-method" in headers and bool(self._cors(headers))

    def _cors(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Never with credentials: the key travels in a header that pages must set themselves."""
        origin = headers.get(b"origin")
        if origin is None or not ("*" in self._origins or origin.decode("latin-1") in self._origins):
            return ()
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        )


def _legible(path: str) -> str:
    """For a log that people read in terminals, which obey what clients may write into a path as `%1b`."""
    return path if path.isprintable() else ascii(path)


def _preflight(headers: Mapping[bytes, bytes]) -> Headers:
    # SDKs send a dozen headers of their own, so what is asked for is what is allowed.
    asked = headers.get(b"access-control-request-headers", b"")
    return (
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-allow-headers", asked),
        (b"access-control-max-age", b"600"),
    )


def _check_key(wanted: bytes, given: bytes) -> None:
    if not given:
        raise Denied(401, "missing_api_key", "This server wants its key as `Authorization: Bearer KEY` or `x-api-key`.")
    if not hmac.compare_digest(wanted, given):
        raise Denied(401, "invalid_api_key", "The API key is not this server's.")
