"""The streams that are being answered now, to be ended with the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.serving.stream import Stream


class LiveStreams:
    def __init__(self) -> None:
        self._streams: list[Stream] = []
        self._beginnings: set[asyncio.Task[Stream]] = set()
        self._ending = False

    @property
    def ending(self) -> bool:
        """Whether a request that is cancelled now was cancelled because the server ends."""
        return self._ending

    @contextmanager
    def expect(self, beginning: asyncio.Task[Stream]) -> Iterator[None]:
        """Inside, `cancel_all` cancels what is to bring a stream, as long as that takes."""
        self._beginnings.add(beginning)
        if self._ending:
            beginning.cancel()
        try:
            yield
        finally:
            self._beginnings.discard(beginning)
            beginning.cancel()

    @contextmanager
    def hold(self, stream: Stream) -> Iterator[None]:
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
        for beginning in self._beginnings:
            beginning.cancel()
        # Those that wait go first, lest they be admitted for nothing when the others leave.
        for stream in reversed(tuple(self._streams)):
            stream.cancel()
