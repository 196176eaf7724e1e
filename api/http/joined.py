"""Several requests as one: each prompt of a list is a request of its own, and one answer tells of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Final

from msgspec.structs import replace

from api.http.live import EventStream
from core.errors import BenchtopError, Cancelled, QueueFull
from core.events import Event, Failed

MOST_RUNNING_REQUESTS: Final = 16
"""Requests of one list that wait or run; the others have no seat in the model's queue yet, which others need too."""
RETRY_SECONDS: Final = 0.5
"""Between tries to get a seat for a further request, while others of the list run."""

Begin = Callable[[], Coroutine[object, object, EventStream]]


async def submit_all(begins: Sequence[Begin], choices: int) -> EventStream:
    """Submit all requests of an answer, each of so many `choices`; returns when the first of them has its model.

    Raises as that one's submission does.
    """
    first = await begins[0]()
    if len(begins) == 1:
        return first

    async def get_first() -> EventStream:
        return first

    return JoinedStream([get_first, *begins[1:]], choices)


class JoinedStream:
    """The events of several requests, choices numbered on from one request to the next.

    A request that fails ends all of them. Belongs to one event loop.
    """

    def __init__(self, begins: Sequence[Begin], choices: int) -> None:
        """`begins` submit the requests, in order, each with so many `choices`."""
        self._begins = begins
        self._choices = choices
        self._seats = asyncio.Semaphore(MOST_RUNNING_REQUESTS)
        self._streams: list[EventStream] = []
        self._admitted = asyncio.Event()
        self._ready = asyncio.Event()
        self._events: list[Event] = []
        self._left = len(begins)
        self._error: BenchtopError | None = None
        self._cancelled = False
        self._tasks = [asyncio.create_task(self._serve(number)) for number in range(len(begins))]

    async def admitted(self) -> None:
        """Returns when one of the requests has left the queue. Raises what ended one before that."""
        try:
            await self._admitted.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._error is not None and not self._events:
            raise self._error

    async def __aiter__(self) -> AsyncGenerator[list[Event], None]:
        try:
            await self.admitted()
            while self._left or self._events:
                if not self._events:
                    self._ready.clear()
                    await self._ready.wait()
                batch, self._events = self._events, []
                if batch:
                    yield batch
        finally:
            if self._left:
                self.cancel()

    def cancel(self) -> None:
        self._cancelled = True
        for stream in tuple(self._streams):
            stream.cancel()
        if not self._streams:
            for task in self._tasks:
                task.cancel()

    async def _serve(self, number: int) -> None:
        """One request, from its seat to its end."""
        try:
            async with self._seats:
                if self._cancelled or self._error is not None:
                    return
                stream = await self._begin(number)
                self._streams.append(stream)
                try:
                    if self._cancelled or self._error is not None:
                        stream.cancel()
                    await stream.admitted()
                    self._admitted.set()
                    async for batch in stream:
                        self._take([self._renumber(event, number) for event in batch])
                finally:
                    self._streams.remove(stream)
        except BenchtopError as error:
            self._fail(error)
        except asyncio.CancelledError:
            # The client left, or the server ends, while the request waited for its seat or its model.
            self._fail(Cancelled())
        finally:
            self._left -= 1
            self._admitted.set()
            self._ready.set()

    async def _begin(self, number: int) -> EventStream:
        """Waits for a seat in the queue as long as others of the list run, which will give theirs back."""
        while True:
            try:
                return await self._begins[number]()
            except QueueFull:
                if not self._streams:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def _renumber(self, event: Event, number: int) -> Event:
        if isinstance(event, Failed) or not number:
            return event
        return replace(event, index=event.index + number * self._choices)

    def _take(self, events: Sequence[Event]) -> None:
        if self._error is not None:
            return
        failed = next((event for event in events if isinstance(event, Failed)), None)
        if failed is not None:
            self._fail(failed.error)
            return
        self._events += events
        self._ready.set()

    def _fail(self, error: BenchtopError) -> None:
        """The first failure is told, and ends the others."""
        if self._error is not None:
            return
        self._error = error
        if self._admitted.is_set():
            self._events.append(Failed(error))
        for stream in tuple(self._streams):
            stream.cancel()
        self._ready.set()
