"""GET /v1/requests: the request board. GET /v1/requests/{id} tells of one, DELETE cancels it, POST
/v1/requests/{id}/end_thinking has it answer."""

from __future__ import annotations

from typing import Final

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct
from msgspec.structs import asdict, replace

from api.http.callers import find_caller, hide_others, is_shown
from api.http.contract import declare_contract, reply_with
from api.http.errors import Denied
from api.http.redact import drop_folders
from core.events import FinishReason
from core.observing.outcomes import RequestOutcome
from core.observing.recent import EndedRequest
from core.snapshots import RequestRow, RequestState
from core.workbench import Workbench


class RequestDetail(RequestRow, frozen=True, kw_only=True):
    """A row of the board, and of a request that has ended its times: seconds from its arrival, but for `began`."""

    began: float | None = None
    """Unix time, seconds."""
    endpoint: str | None = None
    started: float | None = None
    """When its model began to compute it."""
    first_token: float | None = None
    """When the first of its answer was there."""
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    """Of the choice that took longest, from its first token to its last."""
    reasoning_tokens: int = 0
    finish_reasons: tuple[FinishReason, ...] = ()
    outcome: RequestOutcome | None = None
    """What became of it; None while it waits or runs."""
    error: str | None = None


class RequestBoard(Struct, frozen=True):
    requests: list[RequestRow]


class CancelReport(Struct, frozen=True):
    id: str
    cancelled: bool = True


Connection = Request[object, object, State]
END_THINKING: Final = "/end_thinking"


class EndThinkingReport(Struct, frozen=True):
    id: str
    ended: bool = True


def build_request_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    def find_row(request: Connection, request_id: str) -> RequestRow | None:
        row = workbench.requests.row(request_id)
        return row if row is not None and is_shown(row, find_caller(request.scope["state"])) else None

    @get(
        "/v1/requests",
        summary="The requests that wait or run now",
        opt=declare_contract(reply_with(RequestBoard, "The request board")),
    )
    async def list_requests(request: Connection) -> RequestBoard:
        caller = find_caller(request.scope["state"])
        rows = workbench.snapshot().requests
        return RequestBoard([hide_others(row, caller) for row in rows if is_shown(row, caller)])

    @get(
        "/v1/requests/{request_id:path}",
        summary="A request that waits or runs, or that has ended lately",
        opt=declare_contract(
            reply_with(RequestDetail, "How far it is or what became of it, its times, what of its prompt was reused"),
            outcomes=((404, "request_not_found"),),
        ),
    )
    async def show_request(request: Connection, request_id: FromPath[str]) -> RequestDetail:
        name, caller = request_id.removeprefix("/"), find_caller(request.scope["state"])
        detail = find_detail(workbench, name)
        if detail is None or not is_shown(detail, caller):
            raise Denied(404, "request_not_found", f"No request {name[:128]!r} waits or runs here, or ended lately.")
        return hide_others(detail, caller)

    @delete(
        "/v1/requests/{request_id:path}",
        status_code=200,
        summary="Cancel a request",
        opt=declare_contract(reply_with(CancelReport, "It was cancelled"), outcomes=((404, "request_not_found"),)),
    )
    async def cancel_request(request: Connection, request_id: FromPath[str]) -> CancelReport:
        name = request_id.removeprefix("/")
        if find_row(request, name) is None or not workbench.requests.cancel(name):
            raise Denied(404, "request_not_found", f"No request {name[:128]!r} waits or runs here.")
        return CancelReport(name)

    @post(
        # Ids may hold slashes, so what stands behind one is part of the parameter.
        "/v1/requests/{request_id:path}",
        status_code=200,
        summary="Behind an id, /end_thinking: have the request end its thoughts and answer",
        opt=declare_contract(
            reply_with(EndThinkingReport, "Its thought ends with the next token, or as soon as it begins"),
            outcomes=((404, "request_not_found"), (409, "not_thinking")),
        ),
    )
    async def end_thinking(request: Connection, request_id: FromPath[str]) -> EndThinkingReport:
        name = request_id.removeprefix("/").removesuffix(END_THINKING)
        row = find_row(request, name)
        asked = request_id.endswith(END_THINKING)
        if asked and row is not None and workbench.requests.end_thinking(name):
            return EndThinkingReport(name)
        if not asked or row is None or row.state is RequestState.ENDED:
            raise Denied(404, "request_not_found", f"No request {name[:128]!r} waits or runs here.")
        raise Denied(409, "not_thinking", f"The request {name[:128]!r} has no thought that could be ended.")

    return [list_requests, show_request, cancel_request, end_thinking]


def find_detail(workbench: Workbench, request_id: str) -> RequestDetail | None:
    """Of a request that waits or runs, or that ended lately."""
    row, ended = workbench.requests.row(request_id), workbench.recent.find_ended(request_id)
    if row is not None and (row.state is not RequestState.ENDED or ended is None):
        return RequestDetail(**asdict(row))
    if ended is None:
        return None
    error = drop_folders(ended.error, workbench.models.paths)
    # Its model may know more of it by now; or it knows another key's request, which went by the same id before.
    known = row if row is not None and row.key == ended.row.key else ended.row
    return describe_ended(replace(ended, row=known, error=error))


def describe_ended(ended: EndedRequest) -> RequestDetail:
    timed = ended.timings.prefill > 0 or ended.timings.decode > 0
    told = asdict(replace(ended.row, state=RequestState.ENDED, elapsed=ended.elapsed))
    return RequestDetail(
        **told,
        began=ended.began,
        endpoint=ended.endpoint or None,
        started=ended.waited,
        first_token=ended.first,
        prefill_seconds=ended.timings.prefill if timed else None,
        decode_seconds=ended.timings.decode if timed else None,
        reasoning_tokens=ended.usage.reasoning_tokens,
        finish_reasons=ended.reasons,
        outcome=ended.outcome,
        error=ended.error or None,
    )
