"""What a loop has to tell its requests, handed over to their event loops in one call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from core.events import Event
from core.serving.stream import Stream, post_call

HAND_OVER_SECONDS = 0.004
"""Seconds between two hand-overs while nothing but decoding goes on: waking the front end for each token of a small
model would take the processor from the engine, and nobody reads that fast."""


class Outbox:
    """Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._held: list[tuple[Stream, Sequence[Event] | None]] = []
        self._handed = 0.0

    def admit(self, stream: Stream) -> None:
        """The request is being served."""
        self._held.append((stream, None))

    def add(self, stream: Stream, events: Sequence[Event]) -> None:
        self._held.append((stream, events))

    def may_wait(self, seconds: float) -> bool:
        """Whether what is held may be told in so many seconds only."""
        return time.monotonic() - self._handed + seconds < HAND_OVER_SECONDS

    def hand_over(self) -> None:
        """One call for each event loop; there is one, as a rule."""
        if not self._held:
            return
        self._handed = time.monotonic()
        held, self._held = self._held, []
        loops = {id(stream.loop): stream.loop for stream, _ in held}
        for key, loop in loops.items():
            _post_all(loop, [(stream, events) for stream, events in held if id(stream.loop) == key])


def _post_all(loop: asyncio.AbstractEventLoop, held: Sequence[tuple[Stream, Sequence[Event] | None]]) -> None:
    def deliver() -> None:
        for stream, events in held:
            if events is None:
                stream.admit()
            else:
                stream.deliver(events)

    post_call(loop, deliver)
