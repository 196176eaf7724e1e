"""Drivers that answer, fail and hang."""

import threading
from collections.abc import Callable

from core.devices.device import Backend, Device, DeviceKind
from core.devices.driver import DriverFailed, WatchedDriver
from tests.fakes.devices import GIB

CARD = Device("a card", DeviceKind.CARD, GIB, GIB, backend=Backend.CUDA)


class ScriptedDriver:
    maker = "NVIDIA"

    def __init__(self, *answers: Callable[[], tuple[Device, ...]]) -> None:
        self.left = list(answers)
        self.threads: set[int] = set()

    def read(self) -> tuple[Device, ...]:
        self.threads.add(threading.get_ident())
        return self.left.pop(0)()


def fail() -> tuple[Device, ...]:
    raise DriverFailed("It fell off the bus.")


def burst() -> tuple[Device, ...]:
    raise ValueError("nonsense")


def answer() -> tuple[Device, ...]:
    return (CARD,)


def test_a_driver_is_asked_on_one_thread_that_is_not_the_callers() -> None:
    driver = ScriptedDriver(answer, answer)
    watched = WatchedDriver(driver)
    assert (watched.read(), watched.read(), watched.problem) == ((CARD,), (CARD,), "")
    assert len(driver.threads) == 1
    assert threading.get_ident() not in driver.threads


def test_what_a_driver_says_of_its_failing_is_told_until_it_answers() -> None:
    watched = WatchedDriver(ScriptedDriver(fail, burst, answer))
    assert (watched.read(), watched.problem) == ((), "It fell off the bus.")
    assert (watched.read(), watched.problem) == ((), "NVIDIA's driver could not be read: nonsense")
    assert (watched.read(), watched.problem) == ((CARD,), "")


def test_a_driver_that_hangs_is_waited_for_once_and_asked_again_when_it_has_answered() -> None:
    go_on = threading.Event()
    done = threading.Event()

    def hang() -> tuple[Device, ...]:
        go_on.wait()
        done.set()
        return (CARD,)

    driver = ScriptedDriver(hang, answer)
    watched = WatchedDriver(driver, seconds=0.05)
    assert watched.read() == ()
    assert watched.hangs
    assert watched.problem == "NVIDIA's driver does not answer: its cards are left out until it does."
    assert watched.read() == ()
    assert len(driver.left) == 1
    go_on.set()
    done.wait()
    while watched.hangs:
        pass
    assert (watched.read(), watched.problem) == ((CARD,), "")
