"""How much of each memory all models together may take, as the user says it: one size, or one for each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from core.contract.placement import HOST
from core.devices.device import Device
from core.serving.pool.eviction import choose_memory_limit
from core.sizes import parse_size, split_sizes


class MemoryLimits(Struct, frozen=True):
    """`host` in bytes; what was said of devices, by their ids in small letters, as it was written: a share of a device
    is known once the device is."""

    host: int
    named: Mapping[str, str] = {}

    def limit_device(self, device: Device) -> int:
        """Bytes of an accelerator: what was said, else all of it. What is left free there is a part of them, which
        planning keeps."""
        said = self.named.get(device.id.lower())
        return device.total if said is None else min(parse_size(said, device.total), device.total)

    def find_unknown(self, devices: Sequence[Device]) -> str:
        """A sentence on devices that are named and not here; empty where there are none."""
        here = [device.id for device in devices if device.is_accelerator]
        unknown = sorted(set(self.named) - {each.lower() for each in here})
        if not unknown:
            return ""
        return (
            f"--memory-limit names {', '.join(unknown)}, which {'is' if len(unknown) == 1 else 'are'} no "
            f"{'device' if len(unknown) == 1 else 'devices'} here; these are: {', '.join(('host', *here))}."
        )


def read_memory_limits(text: str | None, whole: int) -> MemoryLimits:
    """`text` as `--memory-limit` takes it, of a machine with `whole` bytes of main memory. Raises ValueError."""
    if text is None:
        return MemoryLimits(choose_memory_limit(whole))
    said = split_sizes(text)
    host = said.get(HOST)
    named = {name: size for name, size in said.items() if name != HOST}
    return MemoryLimits(choose_memory_limit(whole) if host is None else parse_size(host, whole), named)
