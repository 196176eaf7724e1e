"""The devices of this machine."""

import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.devices.device import Backend, Device, DeviceKind
from core.devices.library import LibraryView, LlamaLibrary
from core.devices.listing import LOOK_SECONDS, DeviceLister, list_devices
from core.hardware import describe_machine
from tests.fakes.devices import GIB, FakeGgmlDevice, build_ggml

CUDA = FakeGgmlDevice("CUDA0", "NVIDIA L4", "CUDA", 24 * GIB, 23 * GIB, address="0000:01:00.0")
CARD = Device("NVIDIA L4", DeviceKind.CARD, 24 * GIB, 9 * GIB, backend=Backend.CUDA, load=5.0, address="0000:01:00.0")


class StillDriver:
    maker = "NVIDIA"

    def __init__(self, *cards: Device) -> None:
        self.cards = cards
        self.asked = 0
        self.wait = threading.Event()
        self.wait.set()

    def read(self) -> tuple[Device, ...]:
        self.asked += 1
        self.wait.wait()
        return self.cards


def test_the_host_comes_first() -> None:
    first = list_devices()[0]
    assert first.kind is DeviceKind.HOST
    assert not first.is_accelerator
    assert (first.id, first.address) == ("", "")
    assert 0 < first.free <= first.total == describe_machine().memory


def test_a_card_is_told_by_driver_and_library_together(tmp_path: Path) -> None:
    lister = DeviceLister([StillDriver(CARD)], LlamaLibrary(build_ggml(tmp_path, (CUDA,))))
    survey = lister.survey()
    (device,) = survey.accelerators
    assert (device.id, device.free, device.load) == ("CUDA0", 9 * GIB, 5.0)
    assert (survey.unused, survey.problems) == ((), ())


def test_peeking_waits_for_nothing_and_knows_the_card_when_the_look_has_ended(tmp_path: Path) -> None:
    driver = StillDriver(CARD)
    driver.wait.clear()
    lister = DeviceLister([driver], LlamaLibrary(build_ggml(tmp_path, (CUDA,))))
    assert [device.kind for device in lister.peek().devices] == [DeviceKind.HOST]
    driver.wait.set()
    lister.survey()
    assert [device.id for device in lister.peek().devices] == ["", "CUDA0"]


def test_where_there_is_the_host_alone_peeking_asks_nobody_again(tmp_path: Path) -> None:
    driver = StillDriver()
    lister = DeviceLister([driver], LlamaLibrary(build_ggml(tmp_path, (), parts=())))
    lister.survey()
    lister._taken = float("-inf")
    assert len(lister.peek().devices) == 1
    assert lister.survey().devices
    assert not any(thread.name == "devices" for thread in threading.enumerate())


def test_where_a_driver_hangs_the_library_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.devices.driver.WatchedDriver.read", lambda _: ())
    monkeypatch.setattr("core.devices.driver.WatchedDriver.hangs", True)
    survey = DeviceLister([StillDriver(CARD)], LlamaLibrary(build_ggml(tmp_path, (CUDA,)))).survey()
    assert len(survey.devices) == 1
    assert survey.problems[-1] == "llama.cpp was not asked for its devices, so models run on the processor."


class CountedLibrary(LlamaLibrary):
    """One that tells what it is to tell, and how often it was asked."""

    def __init__(self, folder: Path, view: LibraryView) -> None:
        super().__init__(folder)
        self.view = view
        self.looks = 0

    def look(self) -> LibraryView:
        self.looks += 1
        return self.view


def wait_long(lister: DeviceLister) -> None:
    """As if the last look and the last numbers were old."""
    lister._looks._looked = time.monotonic() - LOOK_SECONDS - 1
    lister._taken = float("-inf")


def test_a_server_that_does_not_answer_is_asked_again_after_a_while_and_not_by_gauges(tmp_path: Path) -> None:
    lost = ("The RPC server box:1 does not answer.",)
    library = CountedLibrary(build_ggml(tmp_path, (CUDA,)), LibraryView(backends=("CPU",), lost=lost))
    lister = DeviceLister([], library)
    for _ in range(2):
        lister._taken = float("-inf")
        assert lister.survey().problems == lost
    assert library.looks == 1
    wait_long(lister)
    lister._refresh()
    assert library.looks == 1
    wait_long(lister)
    lister.survey()
    assert library.looks == 2


@pytest.mark.parametrize("total", [24 * GIB, 140 * GIB], ids=["the card", "a slice of it"])
def test_the_library_is_asked_again_for_what_is_free_where_no_driver_tells_it(total: int, tmp_path: Path) -> None:
    seen = replace(CARD, id="CUDA0", load=None)
    library = CountedLibrary(build_ggml(tmp_path, (CUDA,)), LibraryView((seen,), ("CUDA",)))
    lister = DeviceLister([StillDriver(replace(CARD, total=total))], library)
    lister.survey()
    assert library.looks == 1
    wait_long(lister)
    lister.survey()
    assert library.looks == (1 if total == CARD.total else 2)
