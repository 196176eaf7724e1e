"""What a route takes and what it answers, declared once beside it: the OpenAPI document is made of that.

The bodies named here are the objects that decode requests, and statuses come from the mapping of errors, so the
document cannot say otherwise than the server does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from api.http.errors import ANSWERS, OPENAI_ERRORS, BodyTooLarge, ErrorDialect
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
    ModelNotFound,
    ModelNotReady,
    ModelUnable,
    QueueFull,
    QueueTimeout,
    RepositoryNotFound,
    RequestError,
)

KEY: Final = "contract"
"""Where a handler's `opt` holds its contract."""
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
"""A JSON document a line."""
PLAIN: Final = "text/plain; charset=utf-8"

Outcome = type[BenchtopError] | tuple[int, str]
"""A class of errors, or a status with its code where the route itself decides."""

READING: Final[Collection[Outcome]] = (RequestError, BodyTooLarge, Busy, Cancelled)
"""What may be wrong with a body."""
LOADING: Final[Collection[Outcome]] = (ModelNotFound, ModelNotReady, LoadFailed, EngineError, Cancelled)
ANSWERING: Final[Collection[Outcome]] = (*LOADING, ModelUnable, ContextExceeded, Busy, QueueFull, QueueTimeout)
ASKING_HUB: Final[Collection[Outcome]] = (
    *(RequestError, ModelNotFound, RepositoryNotFound, GatedRepository),
    *(HubBusy, HubUnreachable, HubError, LoadFailed, Busy),
)
DOWNLOADING: Final[Collection[Outcome]] = (DownloadNotFound, DiskFull, DownloadError, Busy)


class RouteReply(Struct, frozen=True):
    """A successful answer, in one of several forms."""

    words: str
    forms: Mapping[str, type[Struct] | None]
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


def declare_contract(
    *replies: RouteReply,
    outcomes: Collection[Outcome] = (),
    body: JsonBody[Struct] | FormBody | None = None,
    parameters: Mapping[str, Mapping[str, Json]] | None = None,
    needs_key: bool = True,
    errors: ErrorDialect = OPENAI_ERRORS,
) -> dict[str, object]:
    """The `opt` of a route's handler."""
    return {KEY: Contract(replies, outcomes, body, parameters or {}, needs_key, errors)}


def reply_with(kind: type[Struct], words: str, status: int = 200) -> RouteReply:
    """A reply that is one JSON document."""
    return RouteReply(words, {JSON: kind}, status)


def find_status(outcome: Outcome) -> tuple[int, str | None]:
    """Status and code."""
    if isinstance(outcome, tuple):
        return outcome
    status, _, code = next(answer for of, answer in ANSWERS.items() if issubclass(outcome, of))
    return status, code
