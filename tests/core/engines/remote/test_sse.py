"""Server-sent events in whatever pieces they come, and servers that send no end of one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from core.engines.remote import sse
from core.engines.remote.sse import read_events
from core.errors import EngineFailed


async def told(*pieces: bytes) -> list[str]:
    """The data of the events of a body that comes in these pieces."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())
    return [event async for event in read_events(response)]


async def test_events_are_the_same_however_their_bytes_are_cut() -> None:
    whole = 'data: {"a": "é"}\r\n\r\n: still here\n\nevent: x\nid: 7\ndata:first\ndata: second\n\n\n\ndata: last\n\n'
    for cut in range(len(data := whole.encode()) + 1):
        assert await told(data[:cut], data[cut:]) == ['{"a": "é"}', "first\nsecond", "last"]


async def test_a_last_event_without_its_empty_line_counts() -> None:
    assert await told(b"data: a\n\ndata: [DONE]") == ["a", "[DONE]"]


async def test_an_event_without_data_is_none() -> None:
    assert await told(b"event: ping\n\nid: 3\n\n\n\ndata:\n\n") == []


async def test_no_more_than_one_event_of_the_longest_length_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT_CHARACTERS", 1000)
    event = b"data: " + b"x" * 900 + b"\n\n"
    assert len(await told(*[event] * 10)) == 10
    for endless in (b"x" * 400, b"data: " + b"x" * 394 + b"\n", b"\xc3\xa9" * 400):
        with pytest.raises(EngineFailed, match=r"an event of more than 1\.0 kB"):
            await told(event, *[endless] * 3)
