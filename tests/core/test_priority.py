"""Work behind decoding gives way, thread by thread."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from core.priority import NICENESS, ThreadWork, give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the priority of a thread")


def read_niceness(native_id: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, native_id)


def run_aside(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_a_thread_that_gives_way_leaves_all_others_as_they_are() -> None:
    before = read_niceness(threading.get_native_id())
    seen: list[int] = []

    def work() -> None:
        give_way()
        seen.append(read_niceness(threading.get_native_id()))

    run_aside(work)
    assert seen == [min(19, before + NICENESS)]
    assert read_niceness(threading.get_native_id()) == before


def test_a_thread_is_lowered_from_outside_once_it_has_computed_for_long() -> None:
    before = read_niceness(threading.get_native_id())
    over = threading.Event()
    made: list[tuple[ThreadWork, int]] = []

    def work() -> None:
        made.append((ThreadWork(), threading.get_native_id()))
        while not over.is_set():
            sum(range(1000))

    thread = threading.Thread(target=work)
    thread.start()
    while not made or not made[0][0].lower_late(patience=0.01):
        time.sleep(0.001)
    assert read_niceness(made[0][1]) == min(19, before + NICENESS)
    over.set()
    thread.join(20)


def test_a_thread_that_waits_keeps_its_priority_however_long_it_does() -> None:
    before = read_niceness(threading.get_native_id())
    over = threading.Event()
    made: list[tuple[ThreadWork, int]] = []

    def work() -> None:
        made.append((ThreadWork(), threading.get_native_id()))
        assert over.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    while not made:
        time.sleep(0.001)
    time.sleep(0.1)
    assert not made[0][0].lower_late(patience=0.05)
    assert read_niceness(made[0][1]) == before
    over.set()
    thread.join(20)
