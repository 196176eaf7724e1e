"""NVIDIA's cards through NVML: the real bindings over a library that is compiled here."""

import ctypes
from pathlib import Path

import pytest

from core.devices.device import Backend, Device, DeviceKind
from core.devices.driver import DriverFailed
from core.devices.nvml import NvmlDriver
from tests.fakes.devices import GIB, MIB, FakeCard, build_nvml, put_program

HOPPER = FakeCard("NVIDIA H200", "00000000:C1:00.0", 143_156 * MIB, 142_629 * MIB, load=37)
SHARING = FakeCard("NVIDIA GB10", "0000000F:01:00.0", 0, 0, load=5, tells_memory=False)
LOST = FakeCard("NVIDIA L4", "00000000:02:00.0", GIB, GIB, is_lost=True)


def be_there() -> bool:
    return True


def test_cards_have_the_drivers_names_numbers_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_nvml(tmp_path, (HOPPER, SHARING), monkeypatch)
    hopper, sharing = NvmlDriver(be_there).read()
    assert hopper == Device(
        "NVIDIA H200",
        DeviceKind.CARD,
        143_156 * MIB,
        142_629 * MIB,
        backend=Backend.CUDA,
        load=37.0,
        address="0000:c1:00.0",
    )
    assert (sharing.kind, sharing.total, sharing.load) == (DeviceKind.UNIFIED, 0, 5.0)


def test_numbers_are_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build_nvml(tmp_path, (HOPPER,), monkeypatch)
    driver = NvmlDriver(be_there)
    driver.read()
    (ctypes.c_ulonglong * 1).in_dll(library, "frees")[0] = 7 * GIB
    (ctypes.c_uint * 1).in_dll(library, "loads")[0] = 250
    (card,) = driver.read()
    assert (card.free, card.load) == (7 * GIB, 100.0)


def test_a_card_that_is_lost_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_nvml(tmp_path, (LOST, HOPPER), monkeypatch)
    assert [card.name for card in NvmlDriver(be_there).read()] == ["NVIDIA H200"]


def test_the_only_card_being_lost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_nvml(tmp_path, (LOST,), monkeypatch)
    with pytest.raises(DriverFailed, match="fell off the bus: restart the machine"):
        NvmlDriver(be_there).read()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (9, "installed and not loaded"),
        (18, "was updated and the old one still runs: restart"),
        (4, "ask for access to /dev/nvidia"),
        (999, "tells nothing of its cards"),
    ],
)
def test_a_driver_that_refuses_says_what_mends_it_and_is_asked_again(
    code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = build_nvml(tmp_path, (HOPPER,), monkeypatch)
    refusal = ctypes.c_int.in_dll(library, "init_code")
    refusal.value = code
    driver = NvmlDriver(be_there)
    with pytest.raises(DriverFailed, match=said):
        driver.read()
    refusal.value = 0
    assert len(driver.read()) == 1


def test_without_the_library_the_drivers_tool_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build_nvml(tmp_path, (), monkeypatch)
    ctypes.c_int.in_dll(library, "init_code").value = 12
    put_program(tmp_path / "bin", "nvidia-smi", "echo 'NVIDIA L4, 00000000:01:00.0, 3, 23034, 22000'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (card,) = NvmlDriver(be_there).read()
    assert (card.name, card.total, card.address) == ("NVIDIA L4", 23034 * MIB, "0000:01:00.0")


def test_a_card_without_nvidias_driver_is_told() -> None:
    with pytest.raises(DriverFailed, match=r"card at 0000:01:00\.0: install it"):
        NvmlDriver(lambda: False, lambda: ("0000:01:00.0",)).read()


def test_where_there_is_neither_card_nor_driver_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert NvmlDriver(lambda: False, tuple).read() == ()
