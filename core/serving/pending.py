"""Requests on their way to a model that may have to be loaded first. No queue knows them yet.

All of it belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from core.errors import Cancelled
from core.requests import Generation, Priority
from core.serving.ability import Request
from core.serving.content import RequestContent
from core.snapshots import RequestRow, RequestState


class Arrival:
    """A request that some task brings to its model."""

    def __init__(self, request: Request, task: asyncio.Task[object]) -> None:
        self.request = request
        self.state = RequestState.LOADING
        self._task = task
        self._before = task.cancelling()
        self._since = time.monotonic()
        self._cancelled = False

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    def mine(self) -> bool:
        """Whether the cancellation that the task meets now is this arrival's alone; asked once, as `asyncio.timeout`
        does it: a client that leaves at the same time cancels the task itself, and that must go on."""
        return self._cancelled and self._task.uncancel() <= self._before

    def row(self, now: float) -> RequestRow:
        """Nothing was tokenised yet, so all counts are zero."""
        waited = now - self._since
        return RequestRow(
            id=self.request.request_id,
            model=self.request.model,
            state=self.state,
            waited=waited,
            elapsed=waited,
            priority=self.request.priority if isinstance(self.request, Generation) else Priority.NORMAL,
            key=self.request.caller.name,
            route=self.request.route if isinstance(self.request, Generation) else "",
        )


class Arrivals:
    """The requests that are under way now, in the order in which they came."""

    def __init__(self) -> None:
        self._arrivals: dict[str, Arrival] = {}

    def unique(self, request_id: str, arrived: Callable[[str], bool]) -> str:
        """`request_id`, or another where it is empty or one that is under way bears it; `arrived` tells of those that
        are at their model already."""
        if not request_id:
            return uuid4().hex
        taken = request_id in self._arrivals or arrived(request_id)
        return f"{request_id}.{uuid4().hex[:8]}" if taken else request_id

    @contextmanager
    def bring(self, request: Request) -> Iterator[Arrival]:
        """The request is listed, and can be cancelled, while the running task is inside. Its id must be `unique`.

        Raises Cancelled where `cancel` ended it.
        """
        task = asyncio.current_task()
        assert task is not None
        arrival = self._arrivals[request.request_id] = Arrival(request, task)
        try:
            yield arrival
        except asyncio.CancelledError:
            if arrival.mine():
                raise Cancelled from None
            raise
        finally:
            del self._arrivals[request.request_id]

    def cancel(self, request_id: str) -> bool:
        """False when no such request is under way."""
        arrival = self._arrivals.get(request_id)
        if arrival is not None:
            arrival.cancel()
        return arrival is not None

    def content(self, request_id: str) -> RequestContent | None:
        """What a request says that is under way."""
        arrival = self._arrivals.get(request_id)
        return RequestContent(arrival.request) if arrival is not None else None

    def rows(self) -> tuple[RequestRow, ...]:
        now = time.monotonic()
        return tuple(arrival.row(now) for arrival in self._arrivals.values())
