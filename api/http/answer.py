"""An answer on the wire: server-sent events or one JSON body, both cancelled when their client goes away."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from api.http.replies import Headers, send_bytes
from core.errors import BenchtopError, Cancelled
from core.events import Failed, Finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar.types import Receive, Scope, Send

    from api.http.live import EventStream, LiveStreams
    from core.events import Event

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
PING_SECONDS = 15.0
LOADING_SECONDS = 5.0
"""How long a model may load before a streamed answer begins; most failures come sooner, with a status of their own."""

EVENT_STREAM = b"text/event-stream; charset=utf-8"
UNHELD = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
"""Headers by which nobody on the way keeps a part of a stream back."""
HEADERS = [(b"content-type", EVENT_STREAM), *UNHELD]


def frame_event(data: bytes) -> bytes:
    """One event without a name. `data` is JSON, so it holds no line feed."""
    return b"data: " + data + b"\n\n"


def frame_named_event(name: bytes, data: bytes) -> bytes:
    """One event with its name, for dialects whose clients go by that."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n"


OffLoop = Callable[[Callable[["Sequence[Event]"], bytes], "Sequence[Event]"], Coroutine[object, object, bytes]]
"""Has a thread write an answer."""


class Dialect(Protocol):
    """How one dialect writes one request's events. Holds the state of that request alone."""

    @property
    def over(self) -> bool:
        """Whether everything has been written, the end marker too."""
        ...

    def write(self, events: Sequence[Event]) -> bytes:
        """The frames of a batch of events, in one piece; with those that end the stream after its last event."""
        ...

    def reply(self, events: Sequence[Event]) -> bytes:
        """The body of the unstreamed answer, of all events. Raises the error of a `Failed`."""
        ...


class WholeDialect(ABC):
    """Of answers that come whole and are never streamed."""

    over = False

    def write(self, events: Sequence[Event]) -> bytes:
        """Nothing."""
        return b""

    @abstractmethod
    def reply(self, events: Sequence[Event]) -> bytes:
        """As `Dialect.reply`."""


class HttpAnswer:
    """An ASGI application that answers one request from its stream of events.

    Nothing is sent before the request has left the queue, so 503 and 504 can still be told; errors up to that moment
    are raised, later ones are the dialect's to write. Only a model that is loading for long makes a difference: then
    a streamed answer begins with pings, lest its client give up. A client that goes away cancels, whatever the state.
    """

    def __init__(
        self,
        begin: Callable[[], Coroutine[object, object, EventStream]],
        dialect: Dialect,
        live: LiveStreams,
        *,
        streamed: bool,
        ping: float = PING_SECONDS,
        ping_frame: bytes = PING,
        stream_media: bytes = EVENT_STREAM,
        media: bytes = b"application/json",
        headers: Callable[[], Headers] = tuple,
        off_loop: OffLoop | None = None,
    ) -> None:
        """`begin` submits the request, and waits while its model loads; `ping_frame` is what keeps an idle stream alive
        in its dialect; `stream_media` is the stream's type, `media` the unstreamed body's; `headers` is asked when the
        answer begins; `off_loop` writes an unstreamed answer that is long to write, and of a stream its end."""
        self._off_loop = off_loop
        self._begin = begin
        self._dialect = dialect
        self._live = live
        self._streamed = streamed
        self._ping = ping
        self._ping_frame = ping_frame
        self._stream_media = stream_media
        self._media = media
        self._headers = headers
        self._beginning: asyncio.Task[EventStream] | None = None
        self._stream: EventStream | None = None
        self._started = False
        """Whether the headers are out, and pings may follow."""
        self._gone = False
        self._written = 0.0

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        if self._streamed:
            await self._send_events(receive, send)
        else:
            await self._send_reply(receive, send)

    async def _send_events(self, receive: Receive, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        last = b""
        async with self._attended(receive, send):
            try:
                async with self._submitted(send) as stream:
                    await stream.admitted()
                    await self._start(send)
                    async for events in stream:
                        told = [self._told(event) for event in events]
                        if self._off_loop is None or not any(isinstance(event, Finished) for event in told):
                            data = self._dialect.write(told)
                        else:
                            data = await self._off_loop(self._dialect.write, told)
                        if self._dialect.over:
                            last = data
                            continue
                        if not data:
                            # Nothing to tell yet, so pings go on.
                            continue
                        self._written = clock()
                        await send({"type": "http.response.body", "body": data, "more_body": True})
            except BenchtopError as error:
                blamed = self._blamed(error)
                if self._started:
                    last = self._dialect.write([Failed(blamed)])
                elif blamed is error:
                    raise
                else:
                    raise blamed from error
        # The attendant is gone by now, so no ping can come behind the last write.
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_reply(self, receive: Receive, send: Send) -> None:
        try:
            async with self._attended(receive, send), self._submitted(None) as stream:
                await stream.admitted()
                events = [self._told(event) async for batch in stream for event in batch]
        except Cancelled as error:
            if (blamed := self._blamed(error)) is error:
                raise
            raise blamed from error
        write = self._dialect.reply
        body = write(events) if self._off_loop is None else await self._off_loop(write, events)
        await send_bytes(send, 200, self._media, body, self._headers())

    def _told(self, event: Event) -> Event:
        return Failed(self._blamed(event.error)) if isinstance(event, Failed) else event

    def _blamed(self, error: BenchtopError) -> BenchtopError:
        """The error by its true author: a client does not cancel its request by the server's being stopped."""
        return error if self._gone else self._live.blame(error)

    async def _start(self, send: Send) -> None:
        if not self._started:
            typed = (b"content-type", self._stream_media)
            await send({"type": "http.response.start", "status": 200, "headers": [typed, *UNHELD, *self._headers()]})
            self._written = asyncio.get_running_loop().time()
            self._started = True

    @asynccontextmanager
    async def _submitted(self, send: Send | None) -> AsyncIterator[EventStream]:
        """The request's stream, live inside. With `send`, the answer starts when its model takes long to load."""
        beginning = self._beginning = asyncio.create_task(self._begin())
        with self._live.expect(beginning):
            patience = None if send is None else min(self._ping, LOADING_SECONDS)
            done, _ = await asyncio.wait({beginning}, timeout=patience)
            if not done and send is not None:
                await self._start(send)
                # The headers alone stay in the server's buffer.
                await send({"type": "http.response.body", "body": self._ping_frame, "more_body": True})
            stream = self._stream = await self._outcome(beginning)
        with self._live.hold(stream):
            if self._gone:
                stream.cancel()
            yield stream

    async def _outcome(self, beginning: asyncio.Task[EventStream]) -> EventStream:
        try:
            return await beginning
        except asyncio.CancelledError:
            if self._gone:
                raise Cancelled("The client left while the model was being loaded.") from None
            if self._live.ending and beginning.cancelled():
                raise Cancelled from None
            raise

    @asynccontextmanager
    async def _attended(self, receive: Receive, send: Send) -> AsyncIterator[None]:
        attendant = asyncio.create_task(self._attend(receive, send))
        try:
            yield
        finally:
            attendant.cancel()
            with suppress(asyncio.CancelledError):
                await attendant

    async def _attend(self, receive: Receive, send: Send) -> None:
        """Watch for the client's leaving, and keep an idle stream alive. Costs the running stream nothing."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with asyncio.timeout(self._ping):
                    message = await receive()
            except TimeoutError:
                if self._started and clock() - self._written >= self._ping:
                    await send({"type": "http.response.body", "body": self._ping_frame, "more_body": True})
                continue
            if message["type"] == "http.disconnect":
                self._leave()
                return
            if self._started:
                # Its last byte came: whether it has left or listens still shows when something is sent to it.
                await send({"type": "http.response.body", "body": self._ping_frame, "more_body": True})

    def _leave(self) -> None:
        self._gone = True
        if self._stream is not None:
            self._stream.cancel()
        elif self._beginning is not None:
            self._beginning.cancel()
