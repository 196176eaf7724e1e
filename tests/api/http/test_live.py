"""Streams that are on their way to their clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.http.live import EventStream, LiveStreams
from core.events import Event


class KeptStream:
    """One that only tells whether it was cancelled."""

    cancelled = False

    async def admitted(self) -> None: ...

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        for events in ():
            yield events

    def cancel(self) -> None:
        self.cancelled = True


async def test_a_stream_that_comes_just_as_its_client_leaves_is_cancelled() -> None:
    live, stream, ready = LiveStreams(), KeptStream(), asyncio.Event()

    async def begin() -> EventStream:
        await ready.wait()
        return stream

    async def wait_for_it() -> None:
        beginning = asyncio.create_task(begin())
        with live.expect(beginning):
            await beginning

    client = asyncio.create_task(wait_for_it())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ready.set()
    # The stream is there, and its client has not been told when it leaves.
    await asyncio.sleep(0)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    assert stream.cancelled
