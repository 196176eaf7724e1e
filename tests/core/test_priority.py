"""Work behind decoding gives way, thread by thread."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from core.priority import NICENESS, give_way, lower_thread

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


def test_a_thread_that_works_is_lowered_from_outside_and_one_that_has_ended_is_not() -> None:
    before = read_niceness(threading.get_native_id())
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert over.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(20)
    assert thread.native_id is not None
    assert lower_thread(thread.native_id)
    assert read_niceness(thread.native_id) == min(19, before + NICENESS)
    over.set()
    thread.join(20)
    assert not lower_thread(2**22 + 1)
