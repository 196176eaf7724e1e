"""NVIDIA's cards as the driver's own tool tells them, where NVML cannot be asked."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from shutil import which
from typing import Final

from core.devices.brief_process import run_briefly
from core.devices.device import Backend, Device, DeviceKind
from core.telemetry.log import get_logger

ASKING: Final = (
    "--query-gpu=name,pci.bus_id,utilization.gpu,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)
FIELDS: Final = 5
"""Fields of a line."""
TOOL_SECONDS: Final = 3.0
"""Seconds that the tool may take."""
MEBIBYTE_BYTES: Final = 1 << 20
log = get_logger(__name__)


def ask_nvidia_tool() -> tuple[Device, ...]:
    """The cards that `nvidia-smi` tells; none where it is missing, fails, or takes longer than TOOL_SECONDS."""
    tool = which("nvidia-smi")
    if tool is None:
        return ()
    try:
        told = run_briefly([tool, *ASKING], TOOL_SECONDS)
    except OSError as error:
        log.debug("nvidia-smi cannot be started", why=str(error))
        return ()
    if told is None or told.code:
        log.debug("nvidia-smi tells of no cards", said=told.said if told else "nothing in time")
        return ()
    return read_nvidia_rows(told.out.splitlines())


def read_nvidia_rows(lines: Iterable[str]) -> tuple[Device, ...]:
    """What `nvidia-smi` prints for ASKING: name, address, percent, and mebibytes in all and free; lines that tell no
    numbers are left out, as those of cards that share the host's memory do."""
    rows = (row for row in csv.reader(lines, skipinitialspace=True) if len(row) == FIELDS)
    return tuple(
        Device(
            name,
            DeviceKind.CARD,
            int(total) * MEBIBYTE_BYTES,
            int(free) * MEBIBYTE_BYTES,
            backend=Backend.CUDA,
            load=float(load) if load.isdecimal() else None,
            address=normalize_address(address),
        )
        for name, address, load, total, free in rows
        if total.isdecimal() and free.isdecimal()
    )


def normalize_address(text: str) -> str:
    """A PCI address as the kernel writes it, `0000:c1:00.0`: NVIDIA's driver has eight digits for the domain."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""
