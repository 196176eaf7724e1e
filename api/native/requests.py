"""GET /v1/requests: the request board. GET /v1/requests/{id} tells of one, DELETE cancels it, POST
/v1/requests/{id}/end_thinking has it answer."""

from __future__ import annotations

from typing import Final

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from api.http.callers import find_caller
from api.http.contract import declare_contract, reply_with
from api.http.errors import Denied
from core.requests import Caller
from core.snapshots import RequestRow, RequestState
from core.workbench import Workbench


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


def is_shown(row: RequestRow, caller: Caller) -> bool:
    """Whether a request is the caller's own, or any may be seen; whoever may not see one may not touch it."""
    return caller.admin or row.key == caller.name


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
        return RequestBoard([row for row in workbench.snapshot().requests if is_shown(row, caller)])

    @get(
        "/v1/requests/{request_id:path}",
        summary="A request that waits or runs, or that has ended lately",
        opt=declare_contract(
            reply_with(RequestRow, "How far it is, and what of its prompt was reused"),
            outcomes=((404, "request_not_found"),),
        ),
    )
    async def show_request(request: Connection, request_id: FromPath[str]) -> RequestRow:
        name = request_id.removeprefix("/")
        row = find_row(request, name)
        if row is None:
            raise Denied(404, "request_not_found", f"No request {name[:128]!r} waits or runs here, or ended lately.")
        return row

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
