"""Where a model's memory can come from: the machine's own, and that of accelerators which tell theirs."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterable
from enum import Enum
from functools import cache
from shutil import which

import psutil
from msgspec import Struct

from core.hardware import describe_machine, measure_available_memory
from core.telemetry.log import get_logger

ASKING = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
NVIDIA_TOOL_SECONDS = 5.0
"""Seconds that NVIDIA's tool may take."""
MEBIBYTE_BYTES = 1 << 20
log = get_logger(__name__)


class DeviceKind(Enum):
    HOST = "host"
    """The memory that the processor uses."""
    UNIFIED = "unified"
    """The same memory for processor and graphics, as on Apple's machines."""
    CUDA = "cuda"


class Device(Struct, frozen=True):
    name: str
    kind: DeviceKind
    total: int
    """Bytes."""
    free: int
    """Bytes that can be taken now without swapping."""


def list_devices() -> tuple[Device, ...]:
    """The host's memory first, then that of NVIDIA's cards where the driver's own tool tells it.

    Blocks for as long as that tool takes. Cards of other makers are not read; engines may use them all the same.
    """
    return (_host(), *_cuda())


@cache
def has_accelerator() -> bool:
    """Whether models may lie in other memory than the host's. Blocks as `list_devices`, once."""
    return any(device.kind is not DeviceKind.HOST for device in list_devices())


def measure_resident() -> int:
    """Bytes of this process that are in memory now, mapped files among them."""
    return psutil.Process().memory_info().rss


def _host() -> Device:
    apple = describe_machine().apple_silicon
    kind = DeviceKind.UNIFIED if apple else DeviceKind.HOST
    return Device(describe_machine().processor, kind, describe_machine().memory, measure_available_memory())


def _cuda() -> tuple[Device, ...]:
    tool = which("nvidia-smi")
    if tool is None:
        return ()
    try:
        done = subprocess.run(
            [tool, *ASKING], capture_output=True, text=True, errors="replace", timeout=NVIDIA_TOOL_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("nvidia-smi tells of no cards", why=str(error), said=getattr(error, "stderr", "") or "")
        return ()
    return read_cards(done.stdout.splitlines())


def read_cards(lines: Iterable[str]) -> tuple[Device, ...]:
    """What `nvidia-smi` prints for ASKING: name, and mebibytes in all and free; lines that tell no numbers are left
    out, as those of cards that share the host's memory do."""
    rows = (row for row in csv.reader(lines, skipinitialspace=True) if len(row) == 3)
    return tuple(
        Device(name, DeviceKind.CUDA, int(total) * MEBIBYTE_BYTES, int(free) * MEBIBYTE_BYTES)
        for name, total, free in rows
        if total.isdecimal() and free.isdecimal()
    )
