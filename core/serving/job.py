"""A request on its way through a loop."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from core.requests import Embedding, Priority, Reranking, ResolvedGeneration, Transcription
from core.serving.content import RequestContent
from core.serving.queue import find_turn
from core.serving.stream import Stream
from core.snapshots import RequestRow, RequestState


class LoopJob(ABC):
    """A request while it is served. Its loop's thread writes, any thread may read."""

    def __init__(self, request: ResolvedGeneration | Transcription | Embedding | Reranking) -> None:
        self.request = request
        self.stream: Stream
        self.remarks: list[str] = []
        """Sentences about its answer, from the event loop."""
        self.priority = request.priority if isinstance(request, ResolvedGeneration) else Priority.NORMAL
        self.submitted = time.monotonic()
        self.turn = find_turn(self.submitted, self.priority)
        self.claimed: float | None = None
        """When it left the queue."""
        self.cancelled = False
        """Its client wants no more of it; the loop acts on it as soon as it can."""

    @property
    def request_id(self) -> str:
        return self.request.request_id

    def waited(self, now: float) -> float:
        """Seconds in the queue."""
        return (self.claimed or now) - self.submitted

    def content(self) -> RequestContent:
        """What it says, and what came of it up to now."""
        return RequestContent(self.request)

    @abstractmethod
    def row(self, now: float) -> RequestRow:
        """The request as the board shows it."""

    def _row(self, now: float, state: RequestState) -> RequestRow:
        """What the board shows of any request."""
        request = self.request
        return RequestRow(
            id=request.request_id,
            model=request.model,
            state=state,
            waited=self.waited(now),
            elapsed=now - self.submitted,
            priority=self.priority,
            key=request.caller.name,
            notes=tuple(self.remarks),
            route=request.route if isinstance(request, ResolvedGeneration) else "",
        )
