"""Responses that are answered whether their client is there or not, and can be followed from any event on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from api.http.answer import DONE, HEADERS, PING
from api.http.errors import UNEXPECTED
from api.http.leaving import run_while_connected
from api.http.live import LiveStreams
from api.http.rates import Allowance
from api.openai.responses.writer import ResponseWriter
from core.errors import BenchtopError, Busy, Cancelled, RequestError
from core.events import Failed
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

    from api.http.replies import Headers
    from core.serving.stream import Stream

MOST_RUNS: Final = 128
"""At once; each holds its events."""
MOST_LOG_BYTES: Final = 4 * 1024 * 1024
"""Of the events of one response; the oldest are dropped beyond it."""
MOST_ENDED_BYTES: Final = 64 * 1024 * 1024
"""Of the events of all responses that have ended; those of the oldest are dropped beyond it."""

log = get_logger(__name__)


class EventLog:
    """The frames of a response's events, by their numbers."""

    def __init__(self, most_bytes: int = MOST_LOG_BYTES) -> None:
        self._most_bytes = most_bytes
        self._frames: deque[bytes] = deque()
        self.bytes = 0
        self._first = 0
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept."""
        return self._first

    def add(self, frames: list[bytes], *, ended: bool) -> None:
        self._frames.extend(frames)
        self.bytes += sum(map(len, frames))
        while self.bytes > self._most_bytes:
            self.bytes -= len(self._frames.popleft())
            self._first += 1
        self._ended = ended
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(self, start: int) -> AsyncIterator[bytes]:
        """Frames from number `start` on, as they come, until the last; what was dropped meanwhile is passed over."""
        number = start
        while True:
            changed = self._changed
            begun = max(number - self._first, 0)
            frames = [self._frames[at] for at in range(begun, len(self._frames))]
            number = max(number, self._first + len(self._frames))
            if frames:
                yield b"".join(frames)
            elif self._ended:
                return
            else:
                await changed.wait()


class BackgroundRun:
    """One response on its way."""

    def __init__(
        self,
        writer: ResponseWriter,
        begin: Callable[[], Coroutine[object, object, Stream]],
        live: LiveStreams,
        allowance: Allowance,
    ) -> None:
        """`allowance`: of whom the response is for; as long as it is on its way it is one of the requests at once."""
        self._allowance = allowance
        self.writer = writer
        self.events = EventLog()
        self._begin = begin
        self._live = live
        self._beginning: asyncio.Task[Stream] | None = None
        self._stream: Stream | None = None
        self._cancelled = False
        self._add(writer.queue())

    def cancel(self) -> None:
        """Idempotent; what was answered so far is kept."""
        self._cancelled = True
        if self._stream is not None:
            self._stream.cancel()
        elif self._beginning is not None:
            self._beginning.cancel()

    async def end(self) -> None:
        """Cancel it, and wait until nothing comes of it any more."""
        self.cancel()
        async for _ in self.events.follow(self.events.first):
            pass

    async def answer(self) -> None:
        """Raises nothing: whatever goes wrong is told by the response."""
        try:
            with self._allowance.occupy():
                await self._answer()
        except BenchtopError as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._fail(Cancelled())
        except Exception as error:  # noqa: BLE001 - nobody waits for this task, so it tells itself what has failed
            log.error("a response in the background failed", cause=error)
            self._fail(BenchtopError(UNEXPECTED))

    async def _answer(self) -> None:
        beginning = self._beginning = asyncio.create_task(self._begin())
        if self._cancelled:
            beginning.cancel()
        with self._live.expect(beginning):
            stream = self._stream = await beginning
        with self._live.hold(stream):
            if self._cancelled:
                stream.cancel()
            await stream.admitted()
            self._add(self.writer.start())
            async for events in stream:
                self._add(self.writer.write(events if self._cancelled else self._live.retell(events)))

    def _fail(self, error: BenchtopError) -> None:
        if not self.writer.over:
            self._add(self.writer.write([Failed(error if self._cancelled else self._live.blame(error))]))

    def _add(self, frames: list[bytes]) -> None:
        self.events.add(frames, ended=self.writer.over)


class BackgroundRuns:
    """Those of all keys."""

    def __init__(self, live: LiveStreams) -> None:
        self._live = live
        self._runs: dict[str, BackgroundRun] = {}
        """By the ids of their responses, the oldest first."""
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(
        self,
        writer: ResponseWriter,
        begin: Callable[[], Coroutine[object, object, Stream]],
        allowance: Allowance,
    ) -> BackgroundRun:
        """Raises Busy."""
        if len(self._running) >= MOST_RUNS:
            raise Busy("answering in the background", len(self._running), 5)
        key = writer.resource.id
        run = self._runs[key] = BackgroundRun(writer, begin, self._live, allowance)
        task = self._running[key] = asyncio.create_task(run.answer(), name="background-response")
        task.add_done_callback(lambda _: self._end(key))
        return run

    def find(self, response_id: str) -> BackgroundRun | None:
        """A run, also one that has ended, as long as its events are kept."""
        return self._runs.get(response_id)

    def forget(self, response_id: str) -> None:
        """Of a response that is kept no longer."""
        run = self._runs.pop(response_id, None)
        if run is not None:
            run.cancel()

    def _end(self, response_id: str) -> None:
        del self._running[response_id]
        ended = [each for each in self._runs if each not in self._running]
        total = sum(self._runs[each].events.bytes for each in ended)
        for each in ended:
            if total <= MOST_ENDED_BYTES:
                return
            total -= self._runs.pop(each).events.bytes


class FollowedEvents:
    """An ASGI application that sends a run's events. A client that leaves leaves the run as it is."""

    def __init__(self, run: BackgroundRun, start: int, ping: float, headers: Headers = ()) -> None:
        """`start`: the number of the first event. Raises RequestError where that one is not kept any more."""
        if start < run.events.first:
            raise RequestError(
                f"Of this response's events, those before number {run.events.first} are not kept any more.",
                "starting_after",
            )
        self._events = run.events
        self._start = start
        self._ping = ping
        self._headers = headers

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *self._headers]})
        with suppress(Cancelled):
            await run_while_connected(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        following = aiter(self._events.follow(self._start))
        coming = asyncio.ensure_future(anext(following, None))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=self._ping)
                if not done:
                    await send({"type": "http.response.body", "body": PING, "more_body": True})
                    continue
                frames = coming.result()
                if frames is None:
                    break
                await send({"type": "http.response.body", "body": frames, "more_body": True})
                coming = asyncio.ensure_future(anext(following, None))
        finally:
            coming.cancel()
        await send({"type": "http.response.body", "body": DONE, "more_body": False})
