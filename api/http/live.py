"""The streams that are being answered now, to be ended with the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from core.errors import BenchtopError, Cancelled, ServerStopping
from core.events import Event, Failed


class EventStream(Protocol):
    """What an answer is made of: a request's stream, or those of several requests as one."""

    async def admitted(self) -> None:
        """Returns when it has left the queue. Raises what ended it before."""
        ...

    def __aiter__(self) -> AsyncIterator[list[Event]]:
        """Batches of events, to the end. Leaving early cancels."""
        ...

    def cancel(self) -> None: ...


class LiveStreams:
    def __init__(self) -> None:
        self._streams: list[EventStream] = []
        self._beginnings: set[asyncio.Task[EventStream]] = set()
        self._ending = False
        self._watchers: list[Callable[[], None]] = []

    @property
    def watching(self) -> int:
        """How many watch without a request of theirs being answered."""
        return len(self._watchers)

    @contextmanager
    def watch(self, end: Callable[[], None]) -> Iterator[None]:
        """Inside, a connection is there that would last for ever; `end` is called as soon as the server is to stop."""
        self._watchers.append(end)
        if self._ending:
            end()
        try:
            yield
        finally:
            self._watchers.remove(end)

    def end_watching(self) -> None:
        """Nobody waits for those who merely watch."""
        for end in tuple(self._watchers):
            end()

    @property
    def ending(self) -> bool:
        """Whether a request that is cancelled now was cancelled because the server ends."""
        return self._ending

    def blame(self, error: BenchtopError) -> BenchtopError:
        """The error by its true author: nobody but the server has cancelled a request that ends with it."""
        return ServerStopping() if isinstance(error, Cancelled) and self._ending else error

    def retell(self, events: Iterable[Event]) -> list[Event]:
        """The same events, with errors by their true author."""
        return [Failed(self.blame(event.error)) if isinstance(event, Failed) else event for event in events]

    @contextmanager
    def expect(self, beginning: asyncio.Task[EventStream]) -> Iterator[None]:
        """Inside, `cancel_all` cancels what is to bring a stream, as long as that takes. A stream that comes when
        nobody waits for it any more is cancelled."""
        self._beginnings.add(beginning)
        if self._ending:
            beginning.cancel()
        try:
            yield
        except BaseException:
            # It may have come in the very turn of the event loop in which whoever waits for it was cancelled.
            beginning.add_done_callback(_cancel_unheard)
            raise
        finally:
            self._beginnings.discard(beginning)
            beginning.cancel()

    @contextmanager
    def hold(self, stream: EventStream) -> Iterator[None]:
        """The stream is live inside, and cancelled outside if it has not ended by itself."""
        self._streams.append(stream)
        if self._ending:
            stream.cancel()
        try:
            yield
        finally:
            self._streams.remove(stream)
            stream.cancel()

    def open(self) -> None:
        """Let streams live again after `cancel_all`."""
        self._ending = False

    def cancel_all(self) -> None:
        """Cancel every stream, those too that come to be held later: a request may be on its way here."""
        self._ending = True
        self.end_watching()
        for beginning in self._beginnings:
            beginning.cancel()
        # Those that wait go first, lest they be admitted for nothing when the others leave.
        for stream in reversed(tuple(self._streams)):
            stream.cancel()


def _cancel_unheard(beginning: asyncio.Task[EventStream]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().cancel()
