"""Readings of a snapshot."""

from core.observing.catalog import DEVICE_BYTES, DEVICE_FREE, DEVICE_LOAD
from core.observing.gauges import read_snapshot
from core.snapshots import DeviceGauge, MachineSnapshot, Snapshot


def read_devices(*devices: DeviceGauge) -> dict[str, tuple[tuple[tuple[str, ...], float], ...]]:
    snapshot = Snapshot(1.0, 1.0, (), MachineSnapshot(0.0, 1, 1, 1, devices))
    told = {reading.metric.name: reading.values for reading in read_snapshot(snapshot)}
    return {each.name: told[each.name] for each in (DEVICE_BYTES, DEVICE_FREE, DEVICE_LOAD) if each.name in told}


def test_each_accelerator_is_told_by_its_id_and_its_load_where_it_is_known() -> None:
    told = read_devices(
        DeviceGauge("CUDA0", "NVIDIA L4", "CUDA", 24, 9, load=50.0), DeviceGauge("Vulkan1", "Arc", "Vulkan", 16, 8)
    )
    assert [*told.values()] == [
        ((("CUDA0", "NVIDIA L4"), 24), (("Vulkan1", "Arc"), 16)),
        ((("CUDA0", "NVIDIA L4"), 9), (("Vulkan1", "Arc"), 8)),
        ((("CUDA0", "NVIDIA L4"), 0.5),),
    ]


def test_without_accelerators_nothing_is_told_of_any() -> None:
    assert read_devices() == {}
