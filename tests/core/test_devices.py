"""The memory that models may take."""

import pytest

from core.devices import MEBIBYTE_BYTES, Device, DeviceKind, has_accelerator, list_devices, read_cards
from core.hardware import describe_machine


def test_the_hosts_memory_comes_first() -> None:
    first = list_devices()[0]
    assert first.kind in (DeviceKind.HOST, DeviceKind.UNIFIED)
    assert 0 < first.free <= first.total == describe_machine().memory


def test_cards_are_read_off_what_nvidias_tool_prints() -> None:
    lines = ["NVIDIA H100 80GB HBM3, 81559, 80994", "NVIDIA RTX 4090, 24564, 1024"]
    assert read_cards(lines) == (
        Device("NVIDIA H100 80GB HBM3", DeviceKind.CUDA, 81559 * MEBIBYTE_BYTES, 80994 * MEBIBYTE_BYTES),
        Device("NVIDIA RTX 4090", DeviceKind.CUDA, 24564 * MEBIBYTE_BYTES, 1024 * MEBIBYTE_BYTES),
    )


def test_lines_that_tell_no_numbers_are_left_out() -> None:
    assert read_cards(["NVIDIA GB10, [N/A], [N/A]", "", "No devices were found"]) == ()


def test_whether_there_is_an_accelerator_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Device] = []

    def look() -> tuple[Device, ...]:
        looks.append(Device("a card", DeviceKind.CUDA, 1, 1))
        return tuple(looks)

    monkeypatch.setattr("core.devices.list_devices", look)
    has_accelerator.cache_clear()
    try:
        assert has_accelerator()
        assert has_accelerator()
    finally:
        has_accelerator.cache_clear()
    assert len(looks) == 1
