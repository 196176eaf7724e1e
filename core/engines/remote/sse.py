"""The server-sent events of an answer: the data of each, within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

from core.errors import EngineFailed
from core.sizes import format_size

if TYPE_CHECKING:
    import httpx

LONGEST_EVENT_CHARACTERS = 8_000_000
"""Characters that may arrive without the end of an event."""


async def read_events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of the events that have some. Raises EngineFailed for an event that does not end, httpx.HTTPError."""
    from httpx_sse import EventSource

    text = _BoundedText(response)
    # EventSource asks no more of a response than its headers and this.
    async for event in EventSource(cast("httpx.Response", text)).aiter_sse():
        text.held = 0
        if event.data:
            yield event.data


class _BoundedText:
    """The body of a response. Ends the last event, for servers that leave out the last empty line."""

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self.held = 0
        """Characters since the last event."""
        self._response = response

    async def aiter_text(self) -> AsyncIterator[str]:
        async for piece in self._response.aiter_text():
            self.held += len(piece)
            if self.held > LONGEST_EVENT_CHARACTERS:
                raise EngineFailed(f"The server sent an event of more than {format_size(LONGEST_EVENT_CHARACTERS)}.")
            yield piece
        yield "\n\n"
