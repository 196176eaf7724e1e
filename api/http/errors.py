"""The one mapping from core errors to HTTP: status, OpenAI error body, headers. Dialects reword, they do not remap."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from api.http.rate_headers import RateState, write_rates
from api.http.redact import drop_folders
from api.http.replies import Headers
from core.errors import (
    BenchtopError,
    Busy,
    Cancelled,
    ContextExceeded,
    DiskFull,
    DownloadError,
    DownloadNotFound,
    DownloadsBusy,
    EngineError,
    GatedRepository,
    HubBusy,
    HubError,
    HubUnreachable,
    ModelError,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotReady,
    ModelUnable,
    Overloaded,
    QueueFull,
    QueueTimeout,
    RepositoryNotFound,
    RequestError,
    ServerStopping,
    TemplateFailed,
    UsageError,
)
from core.telemetry.log import get_logger

Connection = Request[object, object, State]

MISSING = re.compile(r"Missing required query parameter '(\w{1,40})'")
"""How Litestar says so."""
CLIENT = "invalid_request_error"
SERVER = "server_error"
UNEXPECTED = "The server failed unexpectedly; its log says why."

CODINGS = "gzip, deflate"
"""How a body may be compressed."""

MOST_PATIENCE_SECONDS = 120
"""For longer no client is asked to wait by itself."""
CLIENT_CLOSED_STATUS = 499
"""nginx's status for a request that ended at its client's wish; not one that SDKs retry."""


class Detail(Struct, frozen=True):
    message: str
    type: str
    param: str | None = None
    code: str | None = None
    n_prompt_tokens: int | UnsetType = UNSET
    """Where a prompt is too long, as llama.cpp has it; so is the next."""
    n_ctx: int | UnsetType = UNSET


class ErrorBody(Struct, frozen=True):
    error: Detail


class Refusal(Struct, frozen=True):
    """What a client is told instead of an answer."""

    status: int
    error: Detail
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        return msgspec.json.encode(ErrorBody(self.error))


class ErrorReply(Struct, frozen=True):
    """An error as it goes over the wire."""

    status: int
    body: bytes
    headers: Headers = ()


class ErrorDialect(Struct, frozen=True):
    """How the API of one vendor tells errors."""

    write: Callable[[Exception, str], ErrorReply]
    """Given the error and the request's id."""
    body: type[Struct]
    """What is written."""
    choose_status: Callable[[int], int]
    """Its own status in place of one of `ANSWERS`."""
    tells_codes: bool = True
    """Whether the codes of `ANSWERS` are in the body."""
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    """In which every answer has its request's id."""
    write_rates: Callable[[str, RateState], Headers] = write_rates
    """Headers that tell what is left of a client's limits, of `requests` or of `tokens`."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the server takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body has more than {limit} bytes, which is all this server takes; send less, "
            "or raise max_body in the server section of the config file."
        )


class UnknownCoding(RequestError):
    """The body is compressed in a way that is not undone here."""

    def __init__(self, coding: str) -> None:
        super().__init__(
            f"The body's Content-Encoding, {coding[:64]!r}, is none this server undoes; send it as it is, or with one "
            f"of {CODINGS}."
        )


class ResponseNotFound(BenchtopError):
    """No response of that id is kept for this key."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"There is no response {response_id[:128]!r}: it was not stored, was deleted, made room for newer ones, or "
            "was answered before this server was started, which keeps responses in memory; ask for it again."
        )


class PreviousResponseNotFound(RequestError):
    """What a request goes on from is not kept for this key."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"There is no previous response {response_id[:128]!r}: it was not stored, was deleted, made room for newer "
            "ones, or was answered before this server was started, which keeps responses in memory; send the whole "
            "conversation as `input`.",
            "previous_response_id",
        )


class Denied(BenchtopError):
    """The guard turned the request away before anything looked at it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RateLimited(BenchtopError):
    """A client has asked for as much as it may, for now."""

    def __init__(self, why: str, what: str, seconds: float) -> None:
        """`what` there is no more of: `requests` or `tokens`; `seconds`, after which there is some again."""
        self.retry_after = max(1, math.ceil(round(seconds, 3)))
        self.what = what
        super().__init__(f"{why}; try again in {self.retry_after} s.")


ANSWERS: Mapping[type[BenchtopError], tuple[int, str, str | None]] = {
    ContextExceeded: (400, CLIENT, "context_length_exceeded"),
    ModelUnable: (404, CLIENT, "model_unable"),
    BodyTooLarge: (413, CLIENT, "request_too_large"),
    UnknownCoding: (415, CLIENT, "unsupported_encoding"),
    PreviousResponseNotFound: (400, CLIENT, "previous_response_not_found"),
    ResponseNotFound: (404, CLIENT, "response_not_found"),
    UsageError: (400, CLIENT, None),
    RateLimited: (429, CLIENT, "rate_limit_exceeded"),
    ModelNotAllowed: (403, CLIENT, "model_not_allowed"),
    ModelNotFound: (404, CLIENT, "model_not_found"),
    # Of all the causes of a bad gateway it is what came with a download, neither the client nor this server.
    TemplateFailed: (502, SERVER, "chat_template_failed"),
    ModelNotReady: (503, SERVER, "model_not_ready"),
    QueueFull: (503, SERVER, "queue_full"),
    QueueTimeout: (504, SERVER, "queue_timeout"),
    Overloaded: (503, SERVER, "overloaded"),
    Cancelled: (CLIENT_CLOSED_STATUS, CLIENT, "cancelled"),
    ServerStopping: (503, SERVER, "server_stopping"),
    EngineError: (500, SERVER, "engine_failed"),
    RepositoryNotFound: (404, CLIENT, "repository_not_found"),
    GatedRepository: (403, CLIENT, "repository_gated"),
    HubBusy: (503, SERVER, "hub_busy"),
    HubUnreachable: (503, SERVER, "hub_unreachable"),
    HubError: (502, SERVER, "hub_failed"),
    DownloadNotFound: (404, CLIENT, "download_not_found"),
    DownloadsBusy: (409, CLIENT, "downloads_busy"),
    DiskFull: (507, SERVER, "disk_full"),
    DownloadError: (500, SERVER, "download_failed"),
    BenchtopError: (500, SERVER, None),
}
"""Status, type and code of each class of error; the first that fits counts."""

log = get_logger(__name__)


def translate_error(error: Exception) -> Refusal:
    """Pure but for the log: what is not ours is logged with its traceback and never shown."""
    match error:
        case Denied(status=status, code=code):
            headers = (("www-authenticate", "Bearer"),) if status == HTTPStatus.UNAUTHORIZED else ()
            return Refusal(status, Detail(str(error), CLIENT, code=code), headers)
        case HTTPException():
            return _translate_routing_error(error)
        case BenchtopError():
            return _translate_core_error(error)
        case _:
            log.error("unexpected error", cause=error)
            return Refusal(500, Detail(UNEXPECTED, SERVER, code="internal"))


def _translate_core_error(error: BenchtopError) -> Refusal:
    status, kind, code = next(answer for of, answer in ANSWERS.items() if isinstance(error, of))
    whole = str(error)
    # Of a model that is not here nothing can be told but the client's own words.
    own_words = isinstance(error, ModelNotFound) and not error.paths
    told = whole if own_words else drop_folders(whole, error.paths)
    if told != whole:
        # What is the client's fault may quote anything it sent, as often as it likes.
        note = log.warning if status >= HTTPStatus.INTERNAL_SERVER_ERROR else log.info
        note("refused, and folders were not told", why=whole)
    if isinstance(error, RateLimited):
        # OpenAI tells there of what there is no more.
        kind = error.what
    detail = Detail(told, kind, _find_param(error), code)
    if isinstance(error, ContextExceeded):
        detail = replace(detail, n_prompt_tokens=error.prompt_tokens, n_ctx=error.context)
    return Refusal(status, detail, _headers(error))


def _find_param(error: BenchtopError) -> str | None:
    match error:
        case RequestError(field=field):
            return field
        case ModelError():
            return "model"
        case _:
            return None


def _headers(error: BenchtopError) -> tuple[tuple[str, str], ...]:
    match error:
        case QueueFull(retry_after=seconds) | Busy(retry_after=seconds):
            return (("retry-after", str(max(1, seconds))),)
        case RateLimited(retry_after=seconds):
            patient = (("x-should-retry", "false"),) if seconds > MOST_PATIENCE_SECONDS else ()
            return (("retry-after", str(seconds)), *patient)
        case ModelNotReady():
            return (("retry-after", "2"),)
        case ServerStopping():
            return (("retry-after", "5"),)
        case UnknownCoding():
            return (("accept-encoding", CODINGS),)
        case HubUnreachable(retry_after=float(seconds)):
            return (("retry-after", str(max(1, math.ceil(seconds)))),)
        case TemplateFailed():
            # The same conversation fails again.
            return (("x-should-retry", "false"),)
        case QueueTimeout():
            # A client that waited a minute in vain and asks again at once only makes the queue longer.
            return (("x-should-retry", "false"),)
        case Overloaded():
            return (("retry-after", "1"),)
        case _:
            return ()


def _translate_routing_error(error: HTTPException) -> Refusal:
    """Litestar's own refusals. Its details may quote internals, so each status has a sentence of ours."""
    status = error.status_code
    headers = tuple((name.lower(), value) for name, value in (error.headers or {}).items())
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unexpected error", cause=error)
        return Refusal(500, Detail(UNEXPECTED, SERVER, code="internal"))
    messages = {
        HTTPStatus.NOT_FOUND: ("There is nothing at this path; /schema/openapi.json lists what there is.", "not_found"),
        HTTPStatus.METHOD_NOT_ALLOWED: ("This path does not take this method.", "method_not_allowed"),
    }
    message, code = messages.get(HTTPStatus(status), ("The request is malformed.", "bad_request"))
    parameter = _parameter(error)
    if parameter is not None:
        message = f"The parameter {parameter} is missing or malformed; /schema/openapi.json tells what it may be."
    return Refusal(status, Detail(message, CLIENT, param=parameter, code=code), headers)


def _parameter(error: HTTPException) -> str | None:
    """The parameter of the address that Litestar could not read; it names no other."""
    extra = error.extra if isinstance(error, ValidationException) else None
    if isinstance(extra, list) and extra and isinstance(extra[0], Mapping):
        return str(extra[0].get("key", ""))[:40] or None
    missing = MISSING.search(str(error.detail)) if isinstance(error, ValidationException) else None
    return missing[1] if missing else None


def write_error(error: Exception, _: str = "") -> ErrorReply:
    """As OpenAI has it."""
    refused = translate_error(error)
    return ErrorReply(refused.status, refused.encode(), encode_headers(refused))


def encode_headers(refused: Refusal) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in refused.headers)


OPENAI_ERRORS = ErrorDialect(write_error, ErrorBody, choose_status=int)


REFUSED = "refused"
"""The name in a request's state for the error that it was answered with."""


def answer_error(request: Connection, error: Exception) -> Response[bytes]:
    """Litestar's exception handler for everything, in the dialect that the guard has found the request to be in."""
    state = request.scope["state"]
    state[REFUSED] = error
    dialect: ErrorDialect = state.get("errors", OPENAI_ERRORS)
    written = dialect.write(error, str(state.get("request_id", "")))
    return Response(
        written.body,
        status_code=written.status,
        media_type="application/json",
        headers={name.decode(): value.decode() for name, value in written.headers},
    )
