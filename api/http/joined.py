"""Several requests as one: each prompt of a list is a request of its own, and one answer tells of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from api.http.live import EventStream
from core.errors import BenchtopError, Cancelled, QueueFull
from core.events import Event, Failed
from core.requests import Generation
from core.serving.intake import RequestIntake
from core.serving.ready import Traits

MOST_RUNNING_REQUESTS: Final = 16
"""Requests of one list that wait or run; the others have no seat in the model's queue yet, which others need too."""
RETRY_SECONDS: Final = 0.5
"""Between tries to get a seat for a further request, while others of the list run."""

Begin = Callable[[], Coroutine[object, object, EventStream]]


async def submit_all(
    intake: RequestIntake,
    generations: Sequence[Generation],
    *,
    called: Callable[[str], None],
    meets: Callable[[Traits], None],
) -> EventStream:
    """Submit all requests of an answer, each of as many choices; returns when the first of them has its model.

    The first one's id is the answer's. Raises as that one's submission does.
    """
    first, *others = generations
    stream = await intake.submit(first, called=called, meets=meets)
    return JoinedStream(stream, [partial(intake.submit, each) for each in others], first.n) if others else stream


class JoinedStream:
    """The events of several requests, choices numbered on from one request to the next.

    A request that fails ends all of them. Belongs to one event loop.
    """

    def __init__(self, first: EventStream, others: Sequence[Begin], choices: int) -> None:
        """`others` submit the requests that follow the `first`, in order; each has so many `choices`."""
        self._others = others
        self._choices = choices
        self._seats = asyncio.Semaphore(MOST_RUNNING_REQUESTS)
        self._streams = {0: first}
        """Of requests that have a seat and are not over, by their numbers."""
        self._admitted = asyncio.Event()
        self._ready = asyncio.Event()
        self._events: list[Event] = []
        self._error: BaseException | None = None
        """The first that came; it is the answer's."""
        self._tasks = [asyncio.create_task(self._serve(number)) for number in range(1 + len(others))]
        self._left = len(self._tasks)
        for task in self._tasks:
            task.add_done_callback(self._end)

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
            if self._error is not None and not isinstance(self._error, BenchtopError):
                raise self._error
        finally:
            if self._left:
                self.cancel()

    def cancel(self) -> None:
        """End those that run, and those that wait for a seat or for their model."""
        for number, task in enumerate(self._tasks):
            stream = self._streams.get(number)
            if stream is None:
                task.cancel()
            else:
                stream.cancel()

    async def _serve(self, number: int) -> None:
        """One request, from its seat to its end."""
        async with self._seats:
            if number not in self._streams:
                self._streams[number] = await self._begin(self._others[number - 1])
            stream = self._streams[number]
            try:
                await stream.admitted()
                self._admitted.set()
                async for batch in stream:
                    self._take([self._renumber(event, number) for event in batch])
            finally:
                del self._streams[number]

    async def _begin(self, submit: Begin) -> EventStream:
        """Waits for a seat in the queue as long as others of the list run, which will give theirs back."""
        while True:
            try:
                return await submit()
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

    def _end(self, task: asyncio.Task[None]) -> None:
        self._left -= 1
        # One is cancelled when the client leaves, or the server ends, while it waits for its seat or its model.
        error = Cancelled() if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
        self._admitted.set()
        self._ready.set()

    def _fail(self, error: BaseException) -> None:
        """The first failure is told, and ends the others."""
        if self._error is not None:
            return
        self._error = error
        if self._admitted.is_set() and isinstance(error, BenchtopError):
            self._events.append(Failed(error))
        self.cancel()
