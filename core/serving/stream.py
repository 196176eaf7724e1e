"""A request as its front end sees it: wait for admission, take events, cancel. Lives on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from core.chat.answer import AnswerReader
from core.errors import BenchtopError, QueueTimeout
from core.events import Event, Failed, Finished, Prefilled, Reply, fold_events
from core.serving.content import RequestContent
from core.snapshots import RequestRow
from core.telemetry.log import get_logger

log = get_logger(__name__)


def post_call(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    """Have an event loop call `act`, from any thread."""
    try:
        loop.call_soon_threadsafe(act)
    except RuntimeError:
        # The front end's event loop has been closed: no client is left.
        log.debug("dropped events of a closed event loop")


class StreamEnd:
    """When a stream's request came to what, in `time.monotonic`'s seconds, and how its choices ended."""

    def __init__(self) -> None:
        self.admitted: float | None = None
        """None where it never left the queue."""
        self.first: float | None = None
        """When the first of its answer was there."""
        self.finished: list[Finished] = []
        self.error: BenchtopError | None = None
        """What ended it as a whole."""


class Stream:
    """Events of one request, in batches: all that the engine's steps have made since the last take.

    Made within a running event loop; `deliver` and `admit` are called on that loop.
    """

    def __init__(
        self,
        request_id: str,
        prompt_tokens: int,
        choices: int,
        *,
        timeout: float | None,
        withdraw: Callable[[], bool],
        cancel: Callable[[], None],
        row: Callable[[], RequestRow],
        content: Callable[[], RequestContent],
        reader: AnswerReader | None = None,
    ) -> None:
        """`row`: what the request board shows of it; `content`: what it says and what came of it; `reader` tells words,
        thoughts and calls of tools apart, None where all is words."""
        self.request_id = request_id
        self.prompt_tokens = prompt_tokens
        self.loop = asyncio.get_running_loop()
        self.row = row
        self.content = content
        self.end = StreamEnd()
        self._reader = reader
        self._timeout = timeout
        self._withdraw = withdraw
        self._cancel = cancel
        self._open_choices = choices
        self._admitted = asyncio.Event()
        self._ready = asyncio.Event()
        self._events: list[Event] = []
        self._error: BenchtopError | None = None
        self._over = False
        self._last: list[Callable[[], None]] = []
        self._follow: Callable[[Sequence[Event]], None] | None = None

    def follow_events(self, follow: Callable[[Sequence[Event]], None]) -> None:
        """Give `follow` each batch of events as it comes, whoever takes them; those too that wait to be taken."""
        follow(self._events)
        self._follow = follow

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call `tell` on the event loop when the request has ended, however it did; at once where it has already."""
        if self._over:
            tell()
        else:
            self._last.append(tell)

    async def admitted(self) -> None:
        """Returns when the request has left the queue.

        Raises QueueTimeout when it waited too long, and whatever else ended the request before it was admitted.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._admitted.wait()
        except TimeoutError:
            # The loop's thread may have admitted it in this very moment; then the time-out came too late.
            if self._withdraw():
                self.end.error = QueueTimeout(self._timeout or 0.0)
                self._close()
                raise self.end.error from None
            await self._admitted.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._error is not None and not self._events:
            raise self._error

    async def __aiter__(self) -> AsyncGenerator[list[Event], None]:
        """Batches of events until the last choice has finished, or until a `Failed`. Leaving early cancels."""
        try:
            await self.admitted()
            while not self._over or self._events:
                if not self._events:
                    self._ready.clear()
                    await self._ready.wait()
                batch, self._events = self._events, []
                if batch:
                    yield batch
        finally:
            if not self._over:
                self.cancel()

    async def reply(self) -> Reply:
        """The whole answer at once. Raises the error that ended the request."""
        events: list[Event] = []
        async for batch in self:
            events.extend(batch)
        return fold_events(events)

    def cancel(self) -> None:
        """Stop generating. What was made so far can still be taken; idempotent."""
        if not self._over:
            self._cancel()

    def post(self, events: Sequence[Event]) -> None:
        """`deliver`, from any thread."""
        post_call(self.loop, partial(self.deliver, events))

    def admit(self) -> None:
        self.end.admitted = time.monotonic()
        self._admitted.set()

    def deliver(self, events: Sequence[Event]) -> None:
        if self._over:
            return
        if self._reader is not None:
            events = self._reader.read(events)
        self._events.extend(events)
        if self._follow is not None:
            self._follow(events)
        if self.end.first is None:
            self._note_first(events)
        for event in events:
            match event:
                case Finished():
                    self.end.finished.append(event)
                    self._open_choices -= 1
                    self._over = self._over or self._open_choices == 0
                case Failed(error=error):
                    self._over = True
                    self.end.error = error
                    if not self._admitted.is_set():
                        self._error = error
                        self._events.clear()
        self._admitted.set()
        self._ready.set()
        if self._over:
            self._close()

    def _note_first(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        if self.end.admitted is None and any(not isinstance(event, Failed) for event in events):
            self.end.admitted = now
        if any(not isinstance(event, Prefilled | Failed) for event in events):
            self.end.first = now

    def _close(self) -> None:
        self._over = True
        told, self._last = self._last, []
        for tell in told:
            tell()
