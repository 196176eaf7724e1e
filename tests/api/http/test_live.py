"""Streams on their way to whoever asked for them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.http.live import EventStream, LiveStreams
from core.events import Event


class Noted:
    """A stream that says whether it was cancelled."""

    def __init__(self) -> None:
        self.came = self.cancelled = False

    async def admitted(self) -> None:
        """At once."""

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        yield []

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize("turns", range(5))
async def test_a_stream_that_comes_when_its_client_has_just_left_is_cancelled(turns: int) -> None:
    live, stream = LiveStreams(), Noted()

    async def begin() -> EventStream:
        await asyncio.sleep(0)
        stream.came = True
        return stream

    async def ask() -> None:
        beginning = asyncio.create_task(begin())
        with live.expect(beginning):
            held = await beginning
        with live.hold(held):
            await asyncio.Event().wait()

    asking = asyncio.create_task(ask())
    for _ in range(turns):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert stream.cancelled == stream.came
