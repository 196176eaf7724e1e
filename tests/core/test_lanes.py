"""Threads for what blocks: work of one kind waits for its own kind alone, and what is too much is refused at once."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from core.errors import Busy, ModelNotReady, RequestError
from core.lanes import WorkLane, WorkLanes


class Gate:
    """Work that stands until it is let go on."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began: list[str] = []
        self._lock = threading.Lock()

    def work(self, name: str) -> str:
        with self._lock:
            self.began.append(name)
        assert self.open.wait(20)
        return name


async def turns() -> None:
    """Let everything that can run on the event loop do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def begun(gate: Gate, count: int) -> None:
    while len(gate.began) < count:
        await asyncio.sleep(0.001)


async def test_what_is_too_much_is_refused_at_once_and_says_when_to_ask_again() -> None:
    lane, gate = WorkLane("asking", 2, 1), Gate()
    under_way = [asyncio.create_task(lane.run(gate.work, name)) for name in "abc"]
    await begun(gate, 2)
    with pytest.raises(Busy, match="busy asking: 1 requests wait") as caught:
        await lane.run(gate.work, "d")
    assert caught.value.retry_after >= 1
    gate.open.set()
    assert await asyncio.gather(*under_way) == ["a", "b", "c"]
    assert (lane.busy, lane.waiting) == (0, 0)


async def test_whoever_leaves_while_waiting_makes_room_and_his_work_is_never_done() -> None:
    lane, gate = WorkLane("asking", 1, 1), Gate()
    first = asyncio.create_task(lane.run(gate.work, "first"))
    await begun(gate, 1)
    for name in ("gone", "gone too", "gone as well"):
        leaving = asyncio.create_task(lane.run(gate.work, name))
        await turns()
        leaving.cancel()
        await asyncio.wait({leaving})
    staying = asyncio.create_task(lane.run(gate.work, "stays"))
    await turns()
    gate.open.set()
    assert [*await asyncio.gather(first, staying)] == ["first", "stays"]
    assert gate.began == ["first", "stays"]


async def test_work_that_nobody_waits_for_keeps_its_thread_until_it_ends() -> None:
    lane, gate = WorkLane("asking", 1, 0), Gate()
    left = asyncio.create_task(lane.run(gate.work, "left"))
    await begun(gate, 1)
    left.cancel()
    await asyncio.wait({left})
    with pytest.raises(Busy):
        await lane.run(gate.work, "next")
    gate.open.set()
    while lane.busy:
        await asyncio.sleep(0.001)
    assert await lane.run(gate.work, "next") == "next"


async def test_a_seat_that_is_given_to_whoever_leaves_in_that_moment_is_given_on() -> None:
    lane, gate = WorkLane("asking", 1, None), Gate()
    first = asyncio.create_task(lane.run(gate.work, "first"))
    await begun(gate, 1)
    second = asyncio.create_task(lane.run(gate.work, "second"))
    third = asyncio.create_task(lane.run(gate.work, "third"))
    await turns()
    gate.open.set()
    # The seat is handed over on the event loop; the second one is cancelled in the same turn.
    while not first.done():
        await asyncio.sleep(0)
    second.cancel()
    assert await third == "third"
    await asyncio.wait({second})
    assert await lane.run(gate.work, "fourth") == "fourth"
    assert (lane.busy, lane.waiting) == (0, 0)


async def test_a_lane_that_hangs_holds_no_other_up() -> None:
    lanes, gate = WorkLanes(), Gate()
    hanging = [asyncio.create_task(lanes.hub.run(gate.work, str(number))) for number in range(12)]
    await begun(gate, 4)
    assert await lanes.reading.run(str.upper, "read") == "READ"
    assert await lanes.disk.run(str.upper, "seen") == "SEEN"
    gate.open.set()
    await asyncio.gather(*hanging)
    lanes.close()


async def test_errors_are_raised_where_they_are_waited_for_and_the_thread_goes_on() -> None:
    lane = WorkLane("reading", 1, 0)

    def fail() -> None:
        raise RequestError("It is wrong.", "field")

    for _ in range(3):
        with pytest.raises(RequestError, match="It is wrong"):
            await lane.run(fail)
    assert await lane.run(str.upper, "x") == "X"


async def test_a_closed_lane_refuses_what_waits_and_what_comes() -> None:
    lane, gate = WorkLane("reading", 1, None), Gate()
    running = asyncio.create_task(lane.run(gate.work, "runs"))
    await begun(gate, 1)
    waiting = asyncio.create_task(lane.run(gate.work, "waits"))
    await turns()
    lane.close()
    lane.close()
    for refused in (waiting, lane.run(gate.work, "comes")):
        with pytest.raises(ModelNotReady, match="being closed"):
            await refused
    gate.open.set()
    assert await running == "runs"
    assert gate.began == ["runs"]


def read_niceness() -> int:
    """Of the thread that asks."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the priority of a thread")
async def test_work_on_what_is_long_gives_way_to_models_from_its_beginning() -> None:
    lanes = WorkLanes()
    short, long = await lanes.reading.run(read_niceness), await lanes.long_reading.run(read_niceness)
    assert (short, long > short or short == 19) == (read_niceness(), True)
    lanes.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lowers threads from outside")
async def test_work_that_takes_long_gives_way_and_the_next_work_has_a_thread_of_its_own() -> None:
    lane, gate = WorkLane("reading", 1, 4, patience=0.01), Gate()
    threads: list[int] = []

    def work() -> int:
        threads.append(threading.get_native_id())
        while not gate.open.is_set():
            # Time that is waited for does not count.
            sum(range(1000))
        return read_niceness()

    slow = asyncio.create_task(lane.run(work))
    while not threads:
        await asyncio.sleep(0.001)
    before = read_niceness()
    while os.getpriority(os.PRIO_PROCESS, threads[0]) == before < 19:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(lane.run(read_niceness))
    await turns()
    gate.open.set()
    assert await slow > before or before == 19
    assert await second == before
    assert (lane.busy, lane.waiting) == (0, 0)
    # Seats are counted as before: there is a thread for each work that comes.
    assert await lane.run(read_niceness) == before
