"""/v1/responses over HTTP: asking for a response, and all that can be done with one that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import setitem
from typing import Final

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp
from msgspec import Struct

from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.bodies import read_body
from api.http.callers import find_caller
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract, reply_with
from api.http.errors import PreviousResponseNotFound, ResponseNotFound
from api.http.field_rules import tell_ignored
from api.http.live import LiveStreams
from api.http.rates import find_allowance
from api.http.replies import Headers, JsonReply
from api.http.routed import build_route_headers
from api.http.settle import LONG_BODY_BYTES
from api.openai.responses.background import FollowedEvents
from api.openai.responses.frames import SERVER_SENT
from api.openai.responses.items import list_item
from api.openai.responses.resource import (
    ENCODER,
    ArgumentsDone,
    CallDelta,
    CompactedResponse,
    CustomInputDone,
    DeletedResponse,
    ItemEvent,
    ItemList,
    PartEvent,
    ResponseEvent,
    ResponseResource,
    SaidDelta,
    SaidDone,
    SummaryDelta,
    SummaryDone,
    SummaryPartEvent,
    ThoughtDelta,
    ThoughtDone,
)
from api.openai.responses.service import BODY, Prepared, ResponseClient, ResponseService, rename_fields
from api.openai.responses.translation import ReadRequest
from api.openai.responses.wire import InputItem
from api.openai.responses.writer import ResponseDialect
from core.errors import RequestError

PATHS: Final = ("/v1/responses", "/responses")
ONE: Final = tuple(f"{path}/{{response_id:str}}" for path in PATHS)
EVENT_KINDS: Final = (
    *(ResponseEvent, ItemEvent, PartEvent, SaidDelta, SaidDone, ThoughtDelta, ThoughtDone),
    *(SummaryPartEvent, SummaryDelta, SummaryDone, CallDelta, ArgumentsDone, CustomInputDone),
)
KEPT: Final = (ResponseNotFound,)
NOT_CANCELLABLE: Final = (
    "Only a response that was asked for with `background` can be cancelled; leave the others' streams."
)
NOT_STREAMED: Final = "Only a response that was asked for with `background` can be streamed again; get it as a whole."

Connection = Request[object, object, State]
MOST_LISTED_ITEMS: Final = 100
"""Items of a page."""
ORDERS: Final = ("asc", "desc")


class InputTokenCount(Struct, frozen=True):
    input_tokens: int
    object: str = "response.input_tokens"


def build_response_routes(
    service: ResponseService, live: LiveStreams, *, max_body: int, ping: float = PING_SECONDS
) -> list[HTTPRouteHandler]:
    streamed = [RouteReply("events where `stream` is true", {EVENTS: kind}) for kind in EVENT_KINDS]

    @post(
        list(PATHS),
        status_code=200,
        summary="Answer with a response",
        opt=declare_contract(
            RouteReply("One JSON document", {JSON: ResponseResource}),
            *streamed,
            body=BODY,
            outcomes=(*READING, *ANSWERING, PreviousResponseNotFound),
        ),
    )
    async def create_response(request: Connection) -> ASGIApp:
        client = _find_client(request)
        read = await _read(request, service, max_body)
        stream = bool(read.body.stream)
        prepared = await service.prepare(read, client, SERVER_SENT if stream or read.body.background else None)
        if read.body.background:
            run = service.start_background(prepared, client)
            if stream:
                return FollowedEvents(run, 0, ping, _build_headers(prepared))
            return JsonReply(ENCODER.encode(prepared.writer.snapshot()), _build_headers(prepared))
        dialect = ResponseDialect(prepared.writer)
        headers = partial(_build_headers, prepared)
        return HttpAnswer(prepared.begin, dialect, live, streamed=stream, ping=ping, headers=headers)

    @post(
        [f"{path}/input_tokens" for path in PATHS],
        status_code=200,
        summary="Count the tokens of what a response would be an answer to",
        opt=declare_contract(
            reply_with(InputTokenCount, "The count"),
            body=BODY,
            outcomes=(*READING, *ANSWERING, PreviousResponseNotFound),
        ),
    )
    async def count_input_tokens(request: Connection) -> InputTokenCount:
        prepared = await service.prepare(await _read(request, service, max_body), _find_client(request), None)
        with rename_fields():
            return InputTokenCount(await service.workbench.requests.count_tokens(prepared.generation))

    @post(
        [f"{path}/compact" for path in PATHS],
        status_code=200,
        summary="Sum a long conversation up, to go on from",
        opt=declare_contract(
            reply_with(CompactedResponse, "What to send from now on in its place"),
            body=BODY,
            outcomes=(*READING, *ANSWERING, PreviousResponseNotFound),
        ),
    )
    async def compact_response(request: Connection) -> ASGIApp:
        read = await _read(request, service, max_body)
        prepared = await service.prepare_compaction(read, _find_client(request))
        headers = (*build_route_headers(prepared.generation), *tell_ignored(prepared.ignored))
        return HttpAnswer(prepared.begin, prepared.dialect, live, streamed=False, ping=ping, headers=lambda: headers)

    return [create_response, count_input_tokens, compact_response, *_build_kept_routes(service, ping)]


def _build_kept_routes(service: ResponseService, ping: float) -> Iterator[HTTPRouteHandler]:
    @get(
        list(ONE),
        summary="A response that is kept",
        opt=declare_contract(
            RouteReply("The response, or its events where `stream` is true", {JSON: ResponseResource}),
            *(RouteReply("events", {EVENTS: kind}) for kind in EVENT_KINDS),
            outcomes=(RequestError, *KEPT),
        ),
    )
    async def retrieve_response(
        request: Connection,
        response_id: FromPath[str],
        stream: FromQuery[bool] = False,
        starting_after: FromQuery[int] = -1,
    ) -> ASGIApp:
        kept = service.store.find((_find_client(request).caller.tenant,), response_id)
        run = service.runs.find(response_id)
        if not stream:
            return JsonReply(ENCODER.encode(kept.resource if run is None else run.writer.snapshot()))
        if run is None:
            raise RequestError(NOT_STREAMED, "stream")
        return FollowedEvents(run, max(starting_after, -1) + 1, ping)

    @delete(
        list(ONE),
        status_code=200,
        summary="Keep a response no longer",
        opt=declare_contract(reply_with(DeletedResponse, "It was deleted, and cancelled if it ran"), outcomes=KEPT),
    )
    async def delete_response(request: Connection, response_id: FromPath[str]) -> DeletedResponse:
        service.store.delete(_find_client(request).caller.tenant, response_id)
        return DeletedResponse(response_id)

    @post(
        [f"{path}/cancel" for path in ONE],
        status_code=200,
        summary="Cancel a response in the background",
        opt=declare_contract(
            reply_with(ResponseResource, "The response, as far as it came"), outcomes=(RequestError, *KEPT)
        ),
    )
    async def cancel_response(request: Connection, response_id: FromPath[str]) -> ResponseResource:
        kept = service.store.find((_find_client(request).caller.tenant,), response_id)
        if not kept.resource.background:
            raise RequestError(NOT_CANCELLABLE, "response_id")
        run = service.runs.find(response_id)
        if run is not None:
            await run.end()
        return kept.resource

    @get(
        [f"{path}/input_items" for path in ONE],
        summary="What a response is the answer to",
        opt=declare_contract(
            reply_with(ItemList, "The items"),
            outcomes=(RequestError, *KEPT),
            parameters={"limit": {"minimum": 1, "maximum": MOST_LISTED_ITEMS}, "order": {"enum": [*ORDERS]}},
        ),
    )
    async def list_input_items(
        request: Connection,
        response_id: FromPath[str],
        after: FromQuery[str | None] = None,
        limit: FromQuery[int] = 20,
        order: FromQuery[str] = "desc",
    ) -> ItemList:
        kept = service.store.find((_find_client(request).caller.tenant,), response_id)
        return _take_page(kept.list_input(), after, limit, order)

    yield from (retrieve_response, delete_response, cancel_response, list_input_items)


async def _read(request: Connection, service: ResponseService, max_body: int) -> ReadRequest:
    raw = await read_body(request.receive, max_body)
    if len(raw) <= LONG_BODY_BYTES:
        return service.read(raw)
    return await service.workbench.lanes.long_reading.run(service.read, raw)


def _find_client(request: Connection) -> ResponseClient:
    state = request.scope["state"]
    return ResponseClient(
        find_caller(state), str(state["request_id"]), partial(setitem, state, "request_id"), find_allowance(state)
    )


def _build_headers(prepared: Prepared) -> Headers:
    return *build_route_headers(prepared.generation), *tell_ignored(prepared.ignored)


def _take_page(given: Sequence[InputItem], after: str | None, limit: int, order: str) -> ItemList:
    """Raises RequestError for what is out of range, and where there is no item to go on after."""
    if not 1 <= limit <= MOST_LISTED_ITEMS:
        raise RequestError(f"limit must be between 1 and {MOST_LISTED_ITEMS}.", "limit")
    if order not in ORDERS:
        raise RequestError(f"order must be one of {', '.join(ORDERS)}.", "order")
    items = given if order == "asc" else given[::-1]
    start = 0
    if after:
        start = next((at + 1 for at, item in enumerate(items) if item.id == after), 0)
        if not start:
            raise RequestError(f"There is no item {after[:128]!r} in this response's input.", "after")
    page = [list_item(item) for item in items[start : start + limit]]
    return ItemList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=start + limit < len(items),
    )
