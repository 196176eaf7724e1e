"""What is told to a client whose bytes are no request that a route could answer."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from msgspec import Struct

from api.http.errors import CLIENT, SERVER, Detail, Refusal
from core.telemetry.log import get_logger

log = get_logger(__name__)


class Grounds(Struct, frozen=True):
    """Why a connection is not taken any further."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


class RequestRefused(Exception):
    """The parser need not go on."""

    def __init__(self, grounds: Grounds) -> None:
        super().__init__(grounds.message)
        self.grounds = grounds


MALFORMED = Grounds(400, "malformed_request", "The request is not well-formed HTTP/1.1.")
BAD_FRAMING = Grounds(400, "malformed_request", "The body's chunks are not well-formed.")
BAD_TARGET = Grounds(400, "malformed_target", "The request's target is none that is served here; begin it with a /.")
NO_HOST = Grounds(400, "missing_host", "The request has no Host header, which HTTP/1.1 wants.")
BODY_INCOMPLETE = Grounds(400, "incomplete_body", "The request's body ended before it was complete.")
TOO_SLOW = Grounds(408, "request_timeout", "The request came too slowly; send it again.")
TARGET_TOO_LONG = Grounds(414, "target_too_long", "The request's address is too long.")
HEAD_TOO_LARGE = Grounds(431, "headers_too_large", "The request's headers are too many or too long.")
UNKNOWN_CODING = Grounds(501, "unknown_transfer_coding", "Of transfer codings, this server takes chunked alone.")
CROWDED = Grounds(
    503, "too_many_connections", "The server has as many connections as it can; try again.", (("retry-after", "1"),)
)
NO_SUCH_VERSION = Grounds(505, "version_not_supported", "This server speaks HTTP/1.1 and HTTP/1.0.")


def write_refusal(grounds: Grounds) -> bytes:
    """The whole answer, which ends the connection; the log has a line of it with the same id."""
    identity = f"req_{secrets.token_hex(12)}"
    log.info("request refused", status=grounds.status, code=grounds.code, request_id=identity)
    kind = SERVER if grounds.status >= HTTPStatus.INTERNAL_SERVER_ERROR else CLIENT
    body = Refusal(grounds.status, Detail(grounds.message, kind, code=grounds.code)).encode()
    headers = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("x-request-id", identity),
        ("connection", "close"),
        *grounds.headers,
    )
    first = f"HTTP/1.1 {grounds.status} {HTTPStatus(grounds.status).phrase}"
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("ascii") + body
