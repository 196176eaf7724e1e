"""What a user adds to a response while it is being answered.

The response ends behind the line that it is writing, or by itself where that is sooner. In a thought, in calls and in
answers of a certain form it is not cut short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from api.http.capturing import MessageCapture
from api.http.settle import JsonBody, Wire
from api.openai.responses.items import build_messages, make_id, read_items
from api.openai.responses.resource import (
    ENCODER,
    CustomToolCallItem,
    FunctionCallItem,
    ResponseResource,
    StreamEvent,
)
from api.openai.responses.translation import ReadRequest, read_request
from api.openai.responses.wire import ItemId, MessageItem, Objects, ResponseRequest
from api.openai.responses.writer import ResponseWriter
from core.errors import RequestError

STEER: Final = "response.steer"
MOST_STEERS: Final = 16
"""That wait for one response."""
WAITING: Final = "waiting_for_required_input"


class SteerRequest(Wire, frozen=True):
    """A message of a WebSocket that adds to a response of it."""

    type: Literal["response.steer"]
    previous_response_id: ItemId
    input: str | Objects


BODY: Final = JsonBody(SteerRequest)


class Steer(Struct, frozen=True):
    """What is to be gone on with."""

    id: str
    target: str
    """The id of the response."""
    input: str | list[Raw]
    """As the client has sent it."""

    @property
    def items(self) -> list[Raw]:
        return list_items(self.input)


class SteerName(Struct, frozen=True):
    id: str
    previous_response_id: str


class ReturnedSteer(Struct, frozen=True, kw_only=True):
    id: str | UnsetType = UNSET
    previous_response_id: str
    input: str | list[Raw]


class SteerError(Struct, frozen=True):
    code: str
    message: str
    type: str = "invalid_request_error"


class SteerAccepted(StreamEvent, kw_only=True):
    steer: SteerName


class RequiredOutput(Struct, frozen=True):
    """The result of a call, which is to come first."""

    type: str
    call_id: str
    name: str | UnsetType = UNSET


class SteerPending(StreamEvent, kw_only=True):
    steer: SteerName
    reason: str = WAITING
    required_input: list[RequiredOutput]


class SteerFailed(StreamEvent, kw_only=True):
    steer: ReturnedSteer
    error: SteerError


class SteerRefused(Exception):
    """It cannot be gone on with. Carries what the client is told."""

    def __init__(self, event: SteerFailed) -> None:
        super().__init__(event.error.message)
        self.event = event


class SteerTarget:
    """A response of a connection, while it is being answered."""

    def __init__(self, writer: ResponseWriter, request: ReadRequest, captured: MessageCapture) -> None:
        """`captured`: the message that is answered by it."""
        self.writer = writer
        self.request = request
        self.captured = captured
        self.steers: list[Steer] = []
        self.turn = asyncio.Lock()
        """Of who writes events of it: they are numbered, and go out in that order."""

    def accept(self, steer: Steer) -> SteerAccepted:
        """Raises SteerRefused."""
        if len(self.steers) >= MOST_STEERS:
            raise refuse_steer(
                steer, "too_many_pending_steers", f"{MOST_STEERS} additions to this response wait already; wait for it."
            )
        self.steers.append(steer)
        return SteerAccepted(type="response.steer.accepted", steer=SteerName(steer.id, steer.target))


def read_steer(raw: bytes) -> Steer:
    """From any thread. Raises SteerRefused for input that cannot be used, RequestError where no response is named."""
    try:
        body = BODY.decode(raw).body
    except RequestError as error:
        told = _look_at(raw)
        if told is None:
            raise
        raise refuse_steer(told, "invalid_input", str(error)) from error
    steer = Steer(make_id("steer"), body.previous_response_id, body.input)
    try:
        read = read_items(steer.items)
        if not read.items or read.ignored or not all(map(_is_users, read.items)):
            raise RequestError("A response can be steered by messages of the user's alone, one at least.", "input")
        build_messages([item for item in read.items if isinstance(item, MessageItem)], None)
    except RequestError as error:
        raise refuse_steer(replace(steer, id=""), "invalid_input", str(error)) from error
    return steer


def refuse_steer(steer: Steer, code: str, message: str) -> SteerRefused:
    returned = ReturnedSteer(id=steer.id or UNSET, previous_response_id=steer.target, input=steer.input)
    return SteerRefused(
        SteerFailed(type="response.steer.failed", steer=returned, error=SteerError(code=code, message=message))
    )


def list_items(given: str | Sequence[Raw] | None) -> list[Raw]:
    """Of an input, as the wire has them."""
    if isinstance(given, str):
        return [Raw(ENCODER.encode({"role": "user", "content": given}))]
    return list(given or ())


def list_required(resource: ResponseResource) -> list[RequiredOutput]:
    """The results that a response waits for before anything can follow it."""
    found: list[RequiredOutput] = []
    for item in resource.output:
        match item:
            case FunctionCallItem(call_id=call, name=name):
                found.append(RequiredOutput("function_call_output", call, name))
            case CustomToolCallItem(call_id=call):
                found.append(RequiredOutput("custom_tool_call_output", call))
    return found


def tell_pending(steers: Sequence[Steer], required: list[RequiredOutput]) -> Iterator[SteerPending]:
    for steer in steers:
        name = SteerName(steer.id, steer.target)
        yield SteerPending(type="response.steer.pending", steer=name, required_input=required)


def build_successor(request: ReadRequest, previous: str, steers: Sequence[Steer]) -> ReadRequest:
    """The request for the response that goes on from `previous`, with the settings of the one before it."""
    items = [item for steer in steers for item in steer.items]
    return _with_input(request, items, previous_response_id=previous)


def put_steers_before(request: ReadRequest, steers: Sequence[Steer]) -> ReadRequest:
    """A request that brings results, with what was added before it."""
    items = [item for steer in steers for item in steer.items]
    return _with_input(request, [*items, *list_items(request.body.input)], request.body.previous_response_id)


def _with_input(request: ReadRequest, items: list[Raw], previous_response_id: str | None) -> ReadRequest:
    body: ResponseRequest = replace(request.body, input=items, previous_response_id=previous_response_id)
    return read_request(body, request.ignored)


def _is_users(item: object) -> bool:
    return isinstance(item, MessageItem) and item.role == "user"


class _LookedAt(Struct):
    previous_response_id: str
    input: Raw


def _look_at(raw: bytes) -> Steer | None:
    """What is told back of a message that is wrong; None where it names no response, or has nothing to give back."""
    try:
        looked = msgspec.json.decode(raw, type=_LookedAt)
        given = msgspec.json.decode(looked.input, type=str | list[Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return Steer("", looked.previous_response_id[:256], given)
