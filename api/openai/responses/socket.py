"""/v1/responses over a WebSocket: messages ask for responses, whose events come back as messages.

Answers of one stream come one after the other; a client may name several streams, which run side by side. What is not
to be stored can still be gone on from, over the same connection.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from litestar.enums import ScopeType
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from api.http.callers import find_caller
from api.http.capturing import MessageCapture, SocketCapture
from api.http.errors import Detail, translate_error
from api.http.live import LiveStreams
from api.http.rates import find_allowance
from api.http.settle import LONG_BODY_BYTES
from api.http.sockets import KEY, SocketWork
from api.openai.responses.frames import MESSAGES, EventWriter, Framing, frame_lane
from api.openai.responses.resource import ENCODER
from api.openai.responses.service import Prepared, ResponseClient, ResponseService, SocketRead
from api.openai.responses.steering import (
    STEER,
    Steer,
    SteerRefused,
    SteerTarget,
    build_successor,
    list_required,
    put_steers_before,
    read_steer,
    refuse_steer,
    tell_pending,
)
from core.errors import BenchtopError, Busy, Cancelled, RequestError
from core.events import Failed, Usage

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

    from core.capture.ring import CaptureRing

MOST_REQUESTS: Final = 32
"""Requests of one connection that may run or wait for others of it."""
UNCODED: Final = "invalid_request"
MOST_WAITING_BYTES: Final = 32 * 1024 * 1024
"""Of their messages."""


Written = TypeVar("Written")


class ClientLeft(Exception):
    """Whatever is sent over this connection reaches nobody."""


class _Looked(Struct):
    stream_id: object = None
    type: object = None

    @property
    def lane(self) -> str | None:
        return self.stream_id if isinstance(self.stream_id, str) and len(self.stream_id) <= 256 else None


class SocketError(Struct, kw_only=True):
    """What a client is told instead of a response's events."""

    type: str = "error"
    status: int
    error: Detail
    headers: Mapping[str, str] | UnsetType = UNSET
    stream_id: str | UnsetType = UNSET


class ResponseSockets:
    """An ASGI application for the WebSockets of all clients."""

    def __init__(self, service: ResponseService, live: LiveStreams, captures: CaptureRing | None = None) -> None:
        """`captures`: where what is asked is kept; nothing is without."""
        self._service = service
        self._live = live
        self._captures = captures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Any = await receive()
        if message["type"] != "websocket.connect":
            return
        accept: Any = {"type": "websocket.accept", "subprotocol": None, "headers": []}
        await send(accept)
        state = scope["state"]
        caller = find_caller(state)
        client = ResponseClient(
            caller,
            str(state["request_id"]),
            allowance=find_allowance(state),
            connection=f"{caller.tenant}/{secrets.token_hex(8)}",
        )
        capture = None
        if self._captures is not None:
            assert scope["type"] == ScopeType.WEBSOCKET
            capture = SocketCapture(scope, self._captures)
        session = ResponseSession(self._service, self._live, client, state[KEY], send, capture)
        try:
            await session.serve(receive)
        finally:
            await session.end()


class ResponseSession:
    """One connection."""

    def __init__(
        self,
        service: ResponseService,
        live: LiveStreams,
        client: ResponseClient,
        work: SocketWork,
        send: Send,
        capture: SocketCapture | None = None,
    ) -> None:
        self._service = service
        self._live = live
        self._client = client
        self._work = work
        self._send = send
        self._capture = capture
        self._last: dict[str | None, asyncio.Task[None]] = {}
        """The newest answer of each stream, which the next one waits for."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting_bytes = 0
        self._targets: dict[str, SteerTarget] = {}
        """Responses that are being answered, by their ids."""
        self._waiting: dict[str, list[Steer]] = {}
        """What was added to responses that wait for results."""

    async def serve(self, receive: Receive) -> None:
        """Returns when the client has left."""
        while True:
            message: Any = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                await self._tell(RequestError("A message must be text, JSON in UTF-8."), None, MessageCapture())
            else:
                await self._take(text.encode())

    async def end(self) -> None:
        """Cancel what is being answered, and forget what this connection alone could go on from."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._service.store.forget(self._client.connection)

    async def _take(self, raw: bytes) -> None:
        lane = None
        try:
            looked = _look_at(raw)
            if looked.type == STEER:
                await self._steer(raw)
                return
            lane = looked.lane
            if len(self._tasks) >= MOST_REQUESTS or self._waiting_bytes + len(raw) > MOST_WAITING_BYTES:
                raise Busy("answering this connection", len(self._tasks), 1)
            asked = await self._read(raw)
        except BenchtopError as error:
            with self._keeping(raw) as captured:
                await self._tell(error, lane, captured)
            return
        answering = self._answer(raw, asked, lane, self._last.get(lane))
        task = asyncio.create_task(answering, name="websocket-response")
        self._last[lane] = task
        self._tasks.add(task)
        self._waiting_bytes += len(raw)
        task.add_done_callback(lambda done: self._finish(done, lane, len(raw)))

    def _keeping(self, raw: bytes) -> AbstractContextManager[MessageCapture]:
        return nullcontext(MessageCapture()) if self._capture is None else self._capture.keeping(raw)

    def _finish(self, task: asyncio.Task[None], lane: str | None, size: int) -> None:
        self._tasks.discard(task)
        self._waiting_bytes -= size
        if self._last.get(lane) is task:
            del self._last[lane]

    async def _read(self, raw: bytes) -> SocketRead:
        if len(raw) <= LONG_BODY_BYTES:
            return self._service.read_message(raw)
        return await self._service.workbench.lanes.long_reading.run(self._service.read_message, raw)

    async def _answer(self, raw: bytes, asked: SocketRead, lane: str | None, before: asyncio.Task[None] | None) -> None:
        with self._keeping(raw) as captured:
            if before is not None:
                await asyncio.wait({before})
            with self._work.run():
                try:
                    with suppress(ClientLeft):
                        await self._answer_all(asked, MESSAGES if lane is None else frame_lane(lane), captured)
                except Exception as error:  # noqa: BLE001 - nobody waits for this task, so it tells what has failed
                    await self._tell(error, lane, captured)

    async def _answer_all(self, asked: SocketRead, framing: Framing, captured: MessageCapture) -> None:
        """The response, and those that go on from it with what was added meanwhile.

        Raises BenchtopError for what fails before the first event.
        """
        target = await self._stream(asked, framing, captured)
        while steers := await self._settle(target):
            try:
                successor = build_successor(target.request, target.writer.resource.id, steers)
                target = await self._stream(SocketRead(successor, generates=True), framing, captured)
            except BenchtopError as error:
                await self._give_back(target, steers, str(self._live.blame(error)))
                return

    async def _stream(self, asked: SocketRead, framing: Framing, captured: MessageCapture) -> SteerTarget:
        """Raises BenchtopError for what fails before the first event."""
        read, previous = asked.read, asked.read.body.previous_response_id or ""
        steers = self._waiting.get(previous, [])
        if steers:
            read = put_steers_before(read, steers)
        # Each is a request of its own, as far as its key's limits go.
        with self._client.allowance.admit():
            client = replace(self._client, called=captured.call)
            prepared = await self._service.prepare(read, client, framing, generates=asked.generates)
            target = SteerTarget(prepared.writer, read, captured)
            self._targets[prepared.writer.resource.id] = target
            try:
                await self._generate(prepared, target)
            except BenchtopError as error:
                blamed = self._live.blame(error)
                if not prepared.writer.begun:
                    del self._targets[prepared.writer.resource.id]
                    raise blamed from error
                await self._send_of(target, prepared.writer.write, [Failed(blamed)])
        if steers:
            self._waiting.pop(previous, None)
        return target

    async def _steer(self, raw: bytes) -> None:
        """Raises RequestError where the message names no response."""
        with self._keeping(raw) as captured:
            await self._steer_kept(raw, captured)

    async def _steer_kept(self, raw: bytes, captured: MessageCapture) -> None:
        try:
            short = len(raw) <= LONG_BODY_BYTES
            steer = read_steer(raw) if short else await self._service.workbench.lanes.long_reading.run(read_steer, raw)
            target = self._targets.get(steer.target)
            if target is None:
                raise refuse_steer(
                    replace(steer, id=""),
                    "response_not_found",
                    f"No response {steer.target[:128]!r} is being answered over this connection; send a "
                    "`response.create` with it as `previous_response_id`.",
                )
            if self._waiting_bytes + len(raw) > MOST_WAITING_BYTES:
                raise refuse_steer(steer, "too_many_pending_steers", "Too much of this connection waits already.")
            accepted = target.accept(steer)
        except SteerRefused as refused:
            numbers = EventWriter(MESSAGES)
            numbers.write(refused.event)
            with suppress(ClientLeft):
                await self._send_all(numbers.take(), captured)
            return
        with suppress(ClientLeft):
            await self._send_of(target, target.writer.tell, [accepted])

    async def _settle(self, target: SteerTarget) -> list[Steer]:
        """What a response that has ended is to be gone on with at once."""
        resource = target.writer.resource
        del self._targets[resource.id]
        steers = target.steers
        if not steers:
            return []
        if resource.status not in ("completed", "incomplete"):
            await self._give_back(target, steers, f"The response is {resource.status}.")
            return []
        required = list_required(resource)
        if not required:
            return steers
        if len(self._waiting) >= MOST_REQUESTS:
            await self._give_back(target, steers, "Too many responses of this connection wait for results.")
            return []
        self._waiting[resource.id] = steers
        await self._send_of(target, target.writer.tell, tell_pending(steers, required))
        return []

    async def _give_back(self, target: SteerTarget, steers: Sequence[Steer], why: str) -> None:
        events = [refuse_steer(steer, "successor_creation_failed", why).event for steer in steers]
        await self._send_of(target, target.writer.tell, events)

    async def _send_of(self, target: SteerTarget, write: Callable[[Written], list[bytes]], written: Written) -> None:
        """Events of a response, in the order of their numbers. Raises ClientLeft."""
        async with target.turn:
            await self._send_all(write(written), target.captured)

    async def _generate(self, prepared: Prepared, target: SteerTarget) -> None:
        beginning = asyncio.create_task(prepared.begin())
        with self._live.expect(beginning):
            try:
                stream = await beginning
            except asyncio.CancelledError:
                if self._live.ending and beginning.cancelled():
                    raise Cancelled from None
                raise
        with self._live.hold(stream):
            await stream.admitted()
            await self._send_of(target, prepared.writer.write, [])
            async for events in stream:
                await self._send_of(target, prepared.writer.write, self._live.retell(events))
                if target.steers and prepared.writer.at_line_end and prepared.generation.constraint is None:
                    row = stream.row()
                    taken = Usage(row.prompt_tokens, row.cached_tokens, row.completion_tokens)
                    await self._send_of(target, prepared.writer.steer, taken)
                    return

    async def _send_all(self, frames: list[bytes], captured: MessageCapture, status: int = 200) -> None:
        """`status` as `MessageCapture.give` has it. Raises ClientLeft."""
        captured.give(frames, status)
        for frame in frames:
            message: Any = {"type": "websocket.send", "text": frame.decode(), "bytes": None}
            try:
                await self._send(message)
            except OSError as error:
                raise ClientLeft from error

    async def _tell(self, error: Exception, lane: str | None, captured: MessageCapture) -> None:
        """What is none of ours is logged."""
        refused = translate_error(error)
        told = SocketError(
            status=refused.status,
            # Open Responses wants a code of every error here.
            error=replace(refused.error, code=refused.error.code or UNCODED),
            headers=dict(refused.headers) or UNSET,
            stream_id=UNSET if lane is None else lane,
        )
        with suppress(ClientLeft):
            await self._send_all([ENCODER.encode(told)], captured, refused.status)


def _look_at(raw: bytes) -> _Looked:
    """What a message is, and the stream that it names, so that it can be told there what is wrong with the message."""
    try:
        return msgspec.json.decode(raw, type=_Looked)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Looked()
