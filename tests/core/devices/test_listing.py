"""The devices of this machine."""

import pytest

from core.devices.device import Device, DeviceKind
from core.devices.listing import has_accelerator, list_devices
from core.hardware import describe_machine


def test_the_host_comes_first() -> None:
    first = list_devices()[0]
    assert first.kind is DeviceKind.HOST
    assert not first.is_accelerator
    assert (first.id, first.address) == ("", "")
    assert 0 < first.free <= first.total == describe_machine().memory


def test_whether_there_is_an_accelerator_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Device] = []

    def look() -> tuple[Device, ...]:
        looks.append(Device("a card", DeviceKind.CARD, 1, 1))
        return tuple(looks)

    monkeypatch.setattr("core.devices.listing.list_devices", look)
    has_accelerator.cache_clear()
    try:
        assert has_accelerator()
        assert has_accelerator()
    finally:
        has_accelerator.cache_clear()
    assert len(looks) == 1
