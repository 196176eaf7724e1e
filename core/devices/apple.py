"""Graphics of Apple's processors: how much of the machine's memory Metal may take."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Final

from core.devices.device import Backend, Device, DeviceKind
from core.hardware import describe_machine, measure_available_memory

WIRED_LIMIT: Final = b"iogpu.wired_limit_mb"
"""What the user allows in MiB; zero where macOS decides."""
USUAL_SHARE: Final = 0.75
"""Of the machine's memory that macOS lets Metal take."""
SMALL_SHARE: Final = 2 / 3
SMALL_BYTES: Final = 32 << 30
"""Machines of this size and smaller ones lend the smaller share."""
MEBIBYTE_BYTES: Final = 1 << 20


class AppleDriver:
    """There is one such device, and it has no address."""

    maker = "Apple"

    def __init__(self, read_limit: Callable[[], int] | None = None) -> None:
        self._read_limit = read_limit or read_wired_limit

    def read(self) -> tuple[Device, ...]:
        here = describe_machine()
        if not here.apple_silicon:
            return ()
        total = compute_metal_share(here.memory, self._read_limit())
        free = min(total, measure_available_memory())
        return (Device(here.processor, DeviceKind.UNIFIED, total, free, backend=Backend.METAL),)


def compute_metal_share(memory: int, limit_mebibytes: int) -> int:
    """Bytes that Metal may take of a machine's `memory`, where the user allows `limit_mebibytes`, or zero for what
    macOS allows by itself."""
    if limit_mebibytes > 0:
        return min(memory, limit_mebibytes * MEBIBYTE_BYTES)
    return int(memory * (SMALL_SHARE if memory <= SMALL_BYTES else USUAL_SHARE))


def read_wired_limit() -> int:
    """Mebibytes; zero where there is no such limit, or no macOS."""
    if sys.platform != "darwin":
        return 0
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    failed = ctypes.CDLL(None).sysctlbyname(WIRED_LIMIT, ctypes.byref(value), ctypes.byref(size), None, 0)
    return 0 if failed else max(0, value.value)
