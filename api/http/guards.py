"""What every request passes before a route sees it: its id, the Host and Origin it claims, its key, its log line."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import ExitStack
from http import HTTPStatus

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send, WebSocketScope

from api.http.callers import CALLER, NOBODY, find_caller
from api.http.codings import Inflated, read_coding
from api.http.errors import OPENAI_ERRORS, REFUSED, BodyTooLarge, Denied, ErrorDialect, RateLimited
from api.http.gatekeeper import Gatekeeper
from api.http.keys import find_key
from api.http.origins import grant_headers, grant_preflight, is_origin_allowed, may_read
from api.http.rates import ALLOWANCE, find_allowance
from api.http.replies import send_bytes
from core.errors import BenchtopError, ServerStopping
from core.hosts import is_loopback
from core.settings.schema import ServerSettings, read_host_name
from core.telemetry.log import get_logger
from core.telemetry.log import request_id as request_id_in_log
from core.telemetry.origin import RequestOrigin, parse_traceparent, request_origin

OPEN_PATHS = frozenset({"/health", "/healthz", "/v1/health"})
"""Answered without a key: load balancers and process managers have none."""

STEERING_ENDS = ("/cancel", "/end_thinking")
"""Of paths at which what is under way already is ended, or has its thoughts ended."""

POLLED_PATHS = frozenset({*OPEN_PATHS, "/metrics"})
"""Asked again and again by programs; of answers that are in order, an everyday log tells nothing."""

MOST_WHY_CHARACTERS = 500
"""Of a reason in the log, which may quote what the client sent."""

POLICY_STATUS = 1008
"""Closes a WebSocket whose client may ask no more (RFC 6455, section 7.4.1)."""

MOST_LENGTH_DIGITS = 18
"""Digits of a Content-Length that may still be true."""

_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SLASHES = re.compile("/{2,}")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_SINGLE = frozenset(
    {b"host", b"origin", b"authorization", b"x-api-key", b"content-length", b"content-type", b"x-request-id"}
)
"""Headers that a request has once: of two, who stands before this server and the server itself may believe another."""
_WANTED = _SINGLE | {
    b"anthropic-version",
    b"traceparent",
    b"access-control-request-method",
    b"access-control-request-headers",
    b"access-control-request-private-network",
}

NoteResponse = Callable[[str, int], None]
"""Told of the route that answered, as it is declared ("" for none), and of the status."""
ChooseErrors = Callable[[str, Mapping[bytes, bytes]], ErrorDialect]
"""From a request's path and headers to the dialect of its errors."""

log = get_logger(__name__)


def choose_request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's id where it is sane, else a fresh one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _SANE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def find_origin(path: str, headers: Mapping[bytes, bytes]) -> RequestOrigin:
    """What is told of a request when it has ended: `//v1/responses/` is asked at /v1/responses."""
    endpoint = _SLASHES.sub("/", path).rstrip("/")
    parent = headers.get(b"traceparent")
    return RequestOrigin(endpoint, parse_traceparent(parent) if parent else None)


class Guard:
    """Wraps the whole application, its own 404s included."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        limits: Mapping[str, int] | None = None,
        errors: ChooseErrors = lambda *_: OPENAI_ERRORS,
        sockets: Mapping[str, ASGIApp] | None = None,
        *,
        gate: Gatekeeper,
        open_paths: Set[str] = OPEN_PATHS,
        note: NoteResponse = lambda *_: None,
    ) -> None:
        """`limits`: bytes that a body may have at some paths, where that is not `max_body`; `sockets`: what answers
        WebSockets, by path; `open_paths`: those that are answered without a key; `note` is told of each answer."""
        self._app = app
        self._sockets = sockets or {}
        self._errors = errors
        self._gate = gate
        self._open_paths = open_paths
        self._note = note
        self._local = is_loopback(settings.host)
        bound = f"[{settings.host}]" if ":" in settings.host and "[" not in settings.host else settings.host
        self._names = frozenset(map(read_host_name, (*_LOCAL_NAMES, bound, *settings.allowed_hosts))) - {""}
        self._origins = settings.cors_origins
        self._limit = settings.max_body
        self._limits = limits or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._open_socket(scope, receive, send)
            return
        headers, repeated = _sorted_out(scope["headers"])
        identity = choose_request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = identity
        caller = state[CALLER] = self._gate.identify(find_key(headers)) or NOBODY
        allowance = state[ALLOWANCE] = self._gate.allowances.find(caller.name)
        request_id_in_log.set(identity)
        path, method = scope["path"], scope["method"]
        request_origin.set(find_origin(path, headers))
        errors = state["errors"] = self._errors(path, headers)
        origin = headers.get(b"origin")
        started = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                nonlocal status
                status = message["status"]
                answer = [_with_head(*header) for header in message["headers"]]
                # The workbench may have called it otherwise meanwhile, as another one went by that id already.
                named = ((name, str(state["request_id"]).encode()) for name in errors.id_headers)
                left = allowance.describe() if method == "POST" and caller is not NOBODY else {}
                rates = (header for what, state in left.items() for header in errors.write_rates(what, state))
                message["headers"] = [*answer, *named, *rates, *grant_headers(origin, self._origins, answer)]
            elif method == "HEAD" and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        try:
            if method == "HEAD":
                # RFC 9110, section 9.3.2: the same as GET, but for the body. The scope itself is the connection's.
                scope = {**scope, "method": "GET"}
            await self._pass(scope, receive, send_on, headers, repeated)
        except asyncio.CancelledError:
            # Only a server that stops cancels the task of a request.
            if not status:
                await _refuse(send_on, ServerStopping(), scope)
        finally:
            request_id_in_log.set(str(state["request_id"]))
            self._note(str(scope.get("path_template", "")), status)
            _choose_level(path, status)(
                "request",
                method=method,
                path=_make_legible(path),
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
                key=caller.name or None,
                why=_tell_why(state.get(REFUSED)),
            )

    async def _pass(
        self, scope: HTTPScope, receive: Receive, send: Send, headers: Mapping[bytes, bytes], repeated: Set[bytes]
    ) -> None:
        try:
            _check_repeated(repeated)
            self._check_sender(headers)
            if self._is_preflight(scope["method"], headers):
                await send_bytes(send, 200, b"text/plain", b"", grant_preflight(headers))
                return
            limit = self._check_body(scope, headers)
            coding = read_coding(value for name, value in scope["headers"] if name == b"content-encoding")
        except BenchtopError as error:
            await _refuse(send, error, scope)
            return
        told = receive if coding is None else Inflated(receive, coding, limit)
        if scope["method"] != "POST" or scope["path"] in self._open_paths:
            # Looking costs little, and what cannot be read again is not refused for having been read often. Who needs
            # no key takes nothing of what those share who have one.
            await self._app(scope, told, send)
            return
        with ExitStack() as stack:
            try:
                steering = scope["path"].endswith(STEERING_ENDS)
                stack.enter_context(find_allowance(scope["state"]).admit(steering=steering))
            except RateLimited as error:
                await _refuse(send, error, scope)
                return
            await self._app(scope, told, send)

    async def _open_socket(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        """The same door: browsers let any page open a WebSocket, so its Origin counts all the more."""
        headers, repeated = _sorted_out(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"] = identity = choose_request_id(headers)
        caller = state[CALLER] = self._gate.identify(find_key(headers)) or NOBODY
        state[ALLOWANCE] = self._gate.allowances.find(caller.name)
        request_id_in_log.set(identity)
        path = scope["path"]
        request_origin.set(find_origin(path, headers))
        errors = state["errors"] = self._errors(path, headers)
        started = time.perf_counter()
        status = 101
        refusal: BenchtopError | None = None

        async def send_on(message: Message) -> None:
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                named = ((name, identity.encode()) for name in errors.id_headers)
                message["headers"] = [*message["headers"], *named]
            await send(message)

        ring, shown = self._gate.ring, find_key(headers)

        async def receive_on() -> ReceiveMessage:
            nonlocal ring
            message = await receive()
            if ring is not self._gate.ring:
                # The keys have changed since: who holds one no more is sent away with the next message.
                ring = self._gate.ring
                if ring.identify(shown) != (None if caller is NOBODY else caller):
                    told = "The API keys have changed; connect again with one of them."
                    await send({"type": "websocket.close", "code": POLICY_STATUS, "reason": told})
                    return {"type": "websocket.disconnect", "code": POLICY_STATUS}
            return message

        try:
            _check_repeated(repeated)
            self._check_sender(headers)
            self._check_body(scope, headers)
            if (app := self._sockets.get(path)) is None:
                raise Denied(404, "not_found", "There is no WebSocket at this path; /v1/responses has one.")
            await app(scope, receive_on, send_on)
        except BenchtopError as error:
            refusal = error
            refused = errors.write(error, identity)
            status = refused.status
            typed = (b"content-type", b"application/json")
            headed: Message = {
                "type": "websocket.http.response.start",
                "status": status,
                "headers": [typed, *refused.headers],
            }
            await send_on(headed)
            await send_on({"type": "websocket.http.response.body", "body": refused.body, "more_body": False})
        finally:
            self._note(path if path in self._sockets else "", status)
            log.info(
                "websocket",
                path=_make_legible(path),
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
                key=caller.name or None,
                why=_tell_why(refusal),
            )

    def _check_sender(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises Denied."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self._local and read_host_name(host) not in self._names:
            raise Denied(
                403,
                "host_not_allowed",
                f"The Host header {host[:100]!r} does not name this machine; "
                "ask for localhost or 127.0.0.1, add the name to allowed_hosts in its config, or bind another address "
                "with --host.",
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and not is_origin_allowed(origin, host, self._origins):
            raise Denied(
                403,
                "origin_not_allowed",
                f"Pages from {origin[:100]!r} may not call this server; add the origin to cors_origins in its config.",
            )

    def _check_body(self, scope: HTTPScope | WebSocketScope, headers: Mapping[bytes, bytes]) -> int:
        """The bytes a body may have. Raises as `Gatekeeper.check` does, BodyTooLarge."""
        path = scope["path"]
        if path not in self._open_paths:
            caller = find_caller(scope["state"])
            client = scope.get("client")
            address = client[0] if client is not None else ""
            self._gate.check(None if caller is NOBODY else caller, find_key(headers), address)
        length = headers.get(b"content-length", b"")
        limit = self._limits.get(path, self._limit)
        # Python refuses to read numbers of thousands of digits.
        if length.isdigit() and (len(length) > MOST_LENGTH_DIGITS or int(length) > limit):
            raise BodyTooLarge(limit)
        return limit

    def _is_preflight(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        origin = headers.get(b"origin", b"").decode("latin-1")
        asks = method == "OPTIONS" and b"access-control-request-method" in headers
        return asks and may_read(origin, self._origins)


def _sorted_out(headers: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], set[bytes]]:
    """The headers that the guard looks at, and those which may be there once and are there more often."""
    found: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    for name, value in headers:
        if name in _WANTED:
            if name in found and name in _SINGLE:
                repeated.add(name)
            found[name] = value
    return found, repeated


def _check_repeated(repeated: Set[bytes]) -> None:
    """Raises Denied."""
    if repeated:
        told = min(repeated).decode("ascii")
        raise Denied(400, "repeated_header", f"The request has more than one {told} header; send one.")


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Where GET is allowed, so is HEAD."""
    if name.lower() != b"allow":
        return name, value
    methods = {method.strip() for method in value.split(b",")}
    return b"allow", b", ".join(sorted(methods | {b"HEAD"} if b"GET" in methods else methods))


async def _refuse(send: Send, error: BenchtopError, scope: HTTPScope) -> None:
    state = scope["state"]
    state[REFUSED] = error
    dialect: ErrorDialect = state["errors"]
    written = dialect.write(error, str(state["request_id"]))
    await send_bytes(send, written.status, b"application/json", written.body, written.headers)


def _choose_level(path: str, status: int) -> Callable[..., None]:
    """How an answer with this status is logged."""
    if path in POLLED_PATHS:
        return log.debug if status < HTTPStatus.BAD_REQUEST else log.info
    return log.warning if status >= HTTPStatus.INTERNAL_SERVER_ERROR else log.info


def _tell_why(error: object) -> str | None:
    """What the operator reads of a request that was refused. Of what is no error of ours, a line of its own tells."""
    if not isinstance(error, BenchtopError):
        return None
    told = str(error)
    return told if len(told) <= MOST_WHY_CHARACTERS else f"{told[:MOST_WHY_CHARACTERS]}..."


def _make_legible(path: str) -> str:
    """For a log that people read in terminals, which obey what clients may write into a path as `%1b`."""
    return path if path.isprintable() else ascii(path)
