"""A gauge for the memory of each accelerator, with its load in words; takes no line where there is the host alone."""

from __future__ import annotations

from typing import Final

from textual.containers import Vertical

from core.foreign_text import make_printable
from core.sizes import format_size
from core.snapshots import DeviceGauge, MachineSnapshot
from tui.widgets.gauge import LABEL_CELLS, Gauge

VALUE_CELLS: Final = 41
MOST_DEVICES: Final = 4
"""Lines at most: a machine with eight cards has other things to show as well."""


class DeviceGauges(Vertical):
    """One line for each of the first MOST_DEVICES accelerators."""

    DEFAULT_CSS = "DeviceGauges { height: auto; display: none; }"

    def show(self, machine: MachineSnapshot) -> None:
        """Draw again only where something visible changed; gauges are made and taken away as devices come and go."""
        devices = machine.devices[:MOST_DEVICES]
        gauges = list(self.query(Gauge))
        # Of a device of another machine, without where that is.
        labels = [make_printable(device.id.partition("[")[0])[:LABEL_CELLS] for device in devices]
        if [gauge.label for gauge in gauges] != labels:
            for gauge in gauges:
                gauge.remove()
            gauges = [Gauge(label, value_width=VALUE_CELLS) for label in labels]
            self.mount_all(gauges)
            self.display = bool(devices)
        hidden = len(machine.devices) - len(devices)
        for number, (gauge, device) in enumerate(zip(gauges, devices, strict=True)):
            used = device.memory_total - device.memory_free
            more = f", {hidden} more" if hidden and number == len(devices) - 1 else ""
            gauge.show(used / device.memory_total if device.memory_total else 0.0, describe_device(device) + more)


def describe_device(device: DeviceGauge) -> str:
    """Memory and load, in words: `9.1 GB free of 24.0 GB, 37% busy`."""
    if not device.memory_total:
        memory = "memory not told"
    else:
        memory = f"{format_size(device.memory_free)} free of {format_size(device.memory_total)}"
    return memory if device.load is None else f"{memory}, {device.load:.0f}% busy"
