"""Bandwidths that devices gave in trial runs, by the bytes that a token reads: kept for this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.devices.device import Device
from core.hardware import describe_machine
from core.kept import keep_lines, load_kept_lines

KEPT_RATES: Final = 64
"""Devices that are remembered."""
LEAST_READ_BYTES: Final = 64_000_000
"""What a token must read for its time to say something of memory: less than that, and caches answer."""


class DeviceRate(Struct, frozen=True):
    """What a device gave in the last run with a model that lay on it alone."""

    machine: str
    """Fingerprint."""
    id: str
    name: str
    bytes_per_second: float
    model: str


class DeviceRates:
    """The file of rates, one for each device. Reading never fails: a damaged line is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, device: Device, read: int, tokens: float, model: str) -> None:
        """A model decoded so many `tokens` a second that read so many bytes each. Where it cannot be kept, nothing is
        lost but that."""
        if read < LEAST_READ_BYTES or tokens <= 0:
            return
        made = DeviceRate(describe_machine().fingerprint, device.id, device.name, read * tokens, model)
        key = (made.machine, made.id, made.name)
        others = [rate for rate in self.all() if (rate.machine, rate.id, rate.name) != key]
        keep_lines(self._path, [*others, made][-KEPT_RATES:])

    def all(self) -> list[DeviceRate]:
        """Those that were measured last come last."""
        return load_kept_lines(self._path, DeviceRate)

    def find(self, devices: Sequence[Device]) -> Mapping[str, float]:
        """Bytes a second by the ids of those devices of this machine that were measured."""
        here = describe_machine().fingerprint
        known = {(rate.id, rate.name): rate.bytes_per_second for rate in self.all() if rate.machine == here}
        return {each.id: known[each.id, each.name] for each in devices if (each.id, each.name) in known}
