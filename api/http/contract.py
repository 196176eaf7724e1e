"""What a route takes and what it answers, declared once beside it: the OpenAPI document is made of that.

The bodies named here are the objects that decode requests, and statuses come from the mapping of errors, so the
document cannot say otherwise than the server does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from api.http.callers import find_caller
from api.http.errors import ANSWERS, OPENAI_ERRORS, BodyTooLarge, Denied, ErrorDialect
from api.http.field_rules import Json
from api.http.forms import FormBody
from api.http.settle import JsonBody
from core.errors import (
    BenchtopError,
    Busy,
    Cancelled,
    ContextExceeded,
    DiskFull,
    DownloadError,
    DownloadNotFound,
    EngineError,
    GatedRepository,
    HubBusy,
    HubError,
    HubUnreachable,
    LoadFailed,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotReady,
    ModelUnable,
    QueueFull,
    QueueTimeout,
    RepositoryNotFound,
    RequestError,
)
from core.requests import Caller

KEY: Final = "contract"
"""Where a handler's `opt` holds its contract."""
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
"""A JSON document a line."""
PLAIN: Final = "text/plain; charset=utf-8"

Outcome = type[BenchtopError] | tuple[int, str]
"""A class of errors, or a status with its code where the route itself decides."""

ADMIN_ONLY: Final[tuple[int, str]] = (403, "admin_only")
METRICS_ONLY: Final[tuple[int, str]] = (403, "metrics_not_allowed")
READING: Final[Collection[Outcome]] = (RequestError, BodyTooLarge, Busy, Cancelled)
"""What may be wrong with a body."""
LOADING: Final[Collection[Outcome]] = (
    *(ModelNotAllowed, ModelNotFound, ModelNotReady),
    *(LoadFailed, EngineError, Cancelled),
)
ANSWERING: Final[Collection[Outcome]] = (*LOADING, ModelUnable, ContextExceeded, Busy, QueueFull, QueueTimeout)
ASKING_HUB: Final[Collection[Outcome]] = (
    *(RequestError, ModelNotFound, RepositoryNotFound, GatedRepository),
    *(HubBusy, HubUnreachable, HubError, LoadFailed, Busy),
)
DOWNLOADING: Final[Collection[Outcome]] = (DownloadNotFound, DiskFull, DownloadError, Busy)


class RouteReply(Struct, frozen=True):
    """A successful answer, in one of several forms."""

    words: str
    forms: Mapping[str, type | None]
    """By media type; None for plain text."""
    status: int = 200
    listed: bool = False
    """A list of such documents."""


class Contract(Struct, frozen=True):
    replies: Sequence[RouteReply]
    outcomes: Collection[Outcome] = ()
    """Beside what the door answers: no key, a wrong Host, a fault of the server."""
    body: JsonBody[Struct] | FormBody | None = None
    parameters: Mapping[str, Mapping[str, Json]] = {}
    """What the schemas of parameters say beside their types."""
    needs_key: bool = True
    errors: ErrorDialect = OPENAI_ERRORS
    admin: bool = False
    """Whether only keys may ask that may see and change what is not their own."""
    sums: bool = False
    """Whether only keys may ask that may see what is summed up over all keys."""


def declare_contract(
    *replies: RouteReply,
    outcomes: Collection[Outcome] = (),
    body: JsonBody[Struct] | FormBody | None = None,
    parameters: Mapping[str, Mapping[str, Json]] | None = None,
    needs_key: bool = True,
    errors: ErrorDialect = OPENAI_ERRORS,
    admin: bool = False,
    sums: bool = False,
) -> dict[str, object]:
    """The `opt` of a route's handler."""
    rights = (*((ADMIN_ONLY,) if admin else ()), *((METRICS_ONLY,) if sums else ()))
    return {KEY: Contract(replies, (*outcomes, *rights), body, parameters or {}, needs_key, errors, admin, sums)}


async def require_rights(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """A guard of Litestar's for all routes; one that is no coroutine would cost each request a thread. Raises
    Denied."""
    contract = handler.opt.get(KEY)
    if not isinstance(contract, Contract):
        return
    if contract.admin:
        check_admin(find_caller(connection.scope["state"]))
    if contract.sums and not find_caller(connection.scope["state"]).metrics:
        raise Denied(
            *METRICS_ONLY,
            "This API key is told at /v1/usage what it has used itself; what all keys have together is for one whose "
            "table says `metrics = true` or `admin = true`.",
        )


def check_admin(caller: Caller) -> None:
    """Raises Denied."""
    if not caller.admin:
        raise Denied(*ADMIN_ONLY, "This API key is for asking models; this takes one whose table says `admin = true`.")


def reply_with(kind: type[Struct], words: str, status: int = 200) -> RouteReply:
    """A reply that is one JSON document."""
    return RouteReply(words, {JSON: kind}, status)


def find_status(outcome: Outcome) -> tuple[int, str | None]:
    """Status and code."""
    if isinstance(outcome, tuple):
        return outcome
    status, _, code = next(answer for of, answer in ANSWERS.items() if issubclass(outcome, of))
    return status, code
