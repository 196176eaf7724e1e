"""Where models can lie: the machine's own memory, and that of accelerators which tell theirs."""

from __future__ import annotations

from functools import cache

from core.devices.device import Device, DeviceKind
from core.devices.nvidia_tool import ask_nvidia_tool
from core.hardware import describe_machine, measure_available_memory


def list_devices() -> tuple[Device, ...]:
    """The host first, then the accelerators. Blocks for as long as the drivers take."""
    return (describe_host(), *ask_nvidia_tool())


@cache
def has_accelerator() -> bool:
    """Whether models may lie in other memory than the host's. Blocks as `list_devices`, once."""
    return any(device.is_accelerator for device in list_devices())


def describe_host() -> Device:
    here = describe_machine()
    return Device(here.processor, DeviceKind.HOST, here.memory, measure_available_memory())
