"""Cards as Linux tells them: trees as below /sys."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.devices.device import Backend, Device, DeviceKind
from core.devices.kernel import AMD, INTEL, NVIDIA, AmdDriver, IntelDriver, find_cards_without_driver
from tests.fakes.devices import GIB, MIB, FakeKernel

RADEON = {
    "device": "0x744c",
    "product_name": "Radeon RX 7900 XTX",
    "mem_info_vram_total": str(24 * GIB),
    "mem_info_vram_used": str(2 * GIB),
    "mem_info_gtt_total": str(32 * GIB),
    "gpu_busy_percent": "61",
}


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


@pytest.fixture
def garbled_card(kernel: FakeKernel) -> Path:
    return kernel.add_card("0000:03:00.0", AMD, RADEON)


def test_amds_card_has_its_memory_load_and_address(kernel: FakeKernel) -> None:
    kernel.add_card("0000:03:00.0", AMD, RADEON)
    kernel.add_card("0000:00:02.0", INTEL, {})
    assert AmdDriver(kernel.root).read() == (
        Device(
            "Radeon RX 7900 XTX",
            DeviceKind.CARD,
            24 * GIB,
            22 * GIB,
            backend=Backend.ROCM,
            load=61.0,
            address="0000:03:00.0",
        ),
    )


def test_graphics_inside_amds_processors_take_the_hosts_memory(kernel: FakeKernel) -> None:
    sizes = {"mem_info_vram_total": str(512 * MIB), "mem_info_vram_used": str(100 * MIB)}
    kernel.add_card("0000:c5:00.0", AMD, {**RADEON, **sizes, "mem_info_gtt_used": str(GIB)})
    (card,) = AmdDriver(kernel.root).read()
    assert (card.kind, card.total) == (DeviceKind.UNIFIED, 32 * GIB + 512 * MIB)
    assert card.free == 31 * GIB + 412 * MIB


@pytest.mark.parametrize(
    "files",
    [
        {"drm/card1/lmem_total_bytes": str(16 * GIB), "drm/card1/lmem_avail_bytes": str(15 * GIB)},
        {"tile0/physical_vram_size_bytes": str(15 * GIB)},
    ],
)
def test_intels_cards_have_the_memory_that_the_driver_tells(files: dict[str, str], kernel: FakeKernel) -> None:
    kernel.add_card("0000:03:00.0", INTEL, {"device": "0x56a0", **files})
    (card,) = IntelDriver(kernel.root).read()
    assert (card.kind, card.free, card.load) == (DeviceKind.CARD, 15 * GIB, None)
    assert card.name == "Intel graphics (0x56a0)"


def test_intels_graphics_inside_a_processor_have_none_of_their_own(kernel: FakeKernel) -> None:
    kernel.add_card("0000:00:02.0", INTEL, {"device": "0x9a49"})
    (card,) = IntelDriver(kernel.root).read()
    assert (card.kind, card.total) == (DeviceKind.UNIFIED, 0)


@given(st.binary(max_size=30))
@example(b"-5")
@example(b"9" * 30)
@example("٣".encode())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_that_hold_no_number_count_as_missing(garbled_card: Path, data: bytes) -> None:
    for name in RADEON:
        (garbled_card / name).write_bytes(data)
    (card,) = AmdDriver(garbled_card.parents[2]).read()
    assert 0 <= card.free <= card.total
    assert card.load is None or 0 <= card.load <= 100


def test_a_tree_that_is_not_there_tells_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert AmdDriver(tmp_path / "none").read() == ()
    assert IntelDriver(tmp_path / "none").read() == ()
    assert find_cards_without_driver(tmp_path / "none") == ()


def test_cards_of_nvidias_that_another_driver_has_are_found(kernel: FakeKernel) -> None:
    kernel.add_card("0000:01:00.0", NVIDIA, {}, driver="nouveau")
    kernel.add_card("0000:02:00.0", NVIDIA, {}, driver="nvidia", node=False)
    kernel.add_card("0000:04:00.0", NVIDIA, {}, node=False)
    kernel.add_card("0000:05:00.0", NVIDIA, {"class": "0x040300"}, driver="snd_hda_intel", node=False)
    assert find_cards_without_driver(kernel.root) == ("0000:01:00.0", "0000:04:00.0")
