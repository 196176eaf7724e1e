"""Requests that one answer tells of: whichever way one of them ends, none is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from api.http.joined import JoinedStream
from core.errors import Cancelled, EngineFailed, QueueFull
from core.events import Event, Failed, Finished, FinishReason, TextDelta, Timings, Usage
from core.serving.stream import Stream
from tests.fakes.support import show_content, show_row

END = Finished(0, FinishReason.STOP, Usage(), Timings())


class Running:
    """A request whose events the test makes."""

    def __init__(self) -> None:
        self.cancelled = False
        self.stream = Stream(
            "", 1, 1, timeout=None, withdraw=lambda: False, cancel=self._cancel, row=show_row, content=show_content
        )

    def _cancel(self) -> None:
        self.cancelled = True
        self.stream.deliver([Failed(Cancelled())])

    async def submit(self) -> Stream:
        return self.stream

    def tell(self, *events: Event) -> None:
        self.stream.deliver(events)


async def take(joined: JoinedStream) -> list[Event]:
    async with asyncio.timeout(10):
        return [event async for batch in joined for event in batch]


def failures(events: Sequence[Event]) -> list[type[Exception]]:
    return [type(event.error) for event in events if isinstance(event, Failed)]


async def wait_for_ever() -> Stream:
    await asyncio.Event().wait()
    raise AssertionError


async def test_choices_are_numbered_on_from_one_request_to_the_next() -> None:
    first, second = Running(), Running()
    joined = JoinedStream(first.stream, [second.submit], 2)
    second.tell(TextDelta(0, "b"), END)
    first.tell(TextDelta(0, "a"), END)
    told = await take(joined)
    assert {(each.index, each.text) for each in told if isinstance(each, TextDelta)} == {(0, "a"), (2, "b")}


async def test_what_is_cancelled_before_any_of_it_began_ends_with_its_first_request() -> None:
    first, second = Running(), Running()
    joined = JoinedStream(first.stream, [second.submit], 1)
    joined.cancel()
    with pytest.raises(Cancelled):
        await take(joined)
    assert first.cancelled


async def test_a_request_that_waits_for_its_model_is_cancelled_with_one_that_runs() -> None:
    first = Running()
    joined = JoinedStream(first.stream, [wait_for_ever], 1)
    first.tell(TextDelta(0, "a"))
    await joined.admitted()
    await asyncio.sleep(0)
    joined.cancel()
    assert failures(await take(joined)) == [Cancelled]
    assert first.cancelled


async def test_a_request_that_waits_for_a_seat_is_cancelled_with_one_that_runs() -> None:
    async def find_no_seat() -> Stream:
        raise QueueFull(1, 1)

    first = Running()
    joined = JoinedStream(first.stream, [find_no_seat], 1)
    first.tell(TextDelta(0, "a"))
    await joined.admitted()
    joined.cancel()
    assert failures(await take(joined)) == [Cancelled]


async def test_who_leaves_before_the_answer_began_cancels_all() -> None:
    first, second = Running(), Running()
    joined = JoinedStream(first.stream, [second.submit], 1)
    waiting = asyncio.create_task(joined.admitted())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (first.cancelled, second.cancelled) == (True, True)


async def test_a_failure_before_the_answer_began_is_raised_and_ends_the_others() -> None:
    first, second = Running(), Running()
    joined = JoinedStream(first.stream, [second.submit], 1)
    second.tell(Failed(EngineFailed("It broke.")))
    with pytest.raises(EngineFailed):
        await joined.admitted()
    assert first.cancelled


async def test_a_failure_amid_the_answer_is_its_last_event_and_ends_the_others() -> None:
    first, second = Running(), Running()
    joined = JoinedStream(first.stream, [second.submit], 1)
    first.tell(TextDelta(0, "a"))
    await joined.admitted()
    second.tell(Failed(EngineFailed("It broke.")))
    told = await take(joined)
    assert (failures(told), isinstance(told[-1], Failed)) == ([EngineFailed], True)
    assert first.cancelled


async def test_a_fault_of_the_program_is_raised_and_ends_the_others() -> None:
    async def fail() -> Stream:
        raise ZeroDivisionError

    first = Running()
    joined = JoinedStream(first.stream, [fail], 1)
    first.tell(TextDelta(0, "a"))
    with pytest.raises(ZeroDivisionError):
        await take(joined)
    assert first.cancelled
