"""Gauges of accelerators."""

from textual.app import App, ComposeResult

from core.snapshots import DeviceGauge, MachineSnapshot
from tests.fakes.devices import GIB
from tui import glyphs
from tui.widgets.device_gauges import MOST_DEVICES, DeviceGauges, describe_device
from tui.widgets.gauge import Gauge

CARD = DeviceGauge("CUDA0", "NVIDIA L4", "CUDA", 24_000_000_000, 9_100_000_000, load=37.4)


def machine(*devices: DeviceGauge) -> MachineSnapshot:
    return MachineSnapshot(0.0, GIB, GIB, 1, devices)


class GaugesApp(App[None]):
    glyphs = glyphs.UNICODE

    def compose(self) -> ComposeResult:
        yield DeviceGauges()


async def test_where_there_is_the_host_alone_nothing_is_shown_and_cards_come_and_go() -> None:
    app = GaugesApp()
    async with app.run_test(size=(80, 12)) as pilot:
        gauges = app.query_one(DeviceGauges)
        gauges.show(machine())
        assert not gauges.display
        gauges.show(machine(CARD))
        await pilot.pause()
        (shown,) = gauges.query(Gauge)
        assert (shown.label, shown.text, shown.share) == ("CUDA0", "9.1 GB free of 24.0 GB, 37% busy", 0.621)
        many = [DeviceGauge(f"CUDA{number}", "NVIDIA L4", "CUDA", GIB, GIB) for number in range(MOST_DEVICES + 3)]
        gauges.show(machine(*many))
        await pilot.pause()
        assert [gauge.label for gauge in gauges.query(Gauge)] == ["CUDA0", "CUDA1", "CUDA2", "CUDA3"]
        assert gauges.query(Gauge).last().text == "1.1 GB free of 1.1 GB, 3 more"
        gauges.show(machine(DeviceGauge("RPC0[10.0.0.2:50052]", "10.0.0.2:50052", "RPC", GIB, GIB)))
        await pilot.pause()
        assert [gauge.label for gauge in gauges.query(Gauge)] == ["RPC0"]
        gauges.show(machine())
        await pilot.pause()
        assert not gauges.display


def test_what_a_driver_does_not_tell_is_not_shown() -> None:
    assert describe_device(DeviceGauge("SYCL0", "Intel graphics", "SYCL", 0, 0)) == "memory not told"
