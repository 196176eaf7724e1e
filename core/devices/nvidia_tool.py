"""NVIDIA's cards as the driver's own tool tells them, where NVML cannot be asked."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterable
from shutil import which
from typing import Final

from core.devices.device import Backend, Device, DeviceKind
from core.telemetry.log import get_logger

ASKING: Final = (
    "--query-gpu=name,pci.bus_id,utilization.gpu,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)
COLUMNS: Final = 5
TOOL_SECONDS: Final = 5.0
"""Seconds that the tool may take."""
MEBIBYTE_BYTES: Final = 1 << 20
log = get_logger(__name__)


def ask_nvidia_tool() -> tuple[Device, ...]:
    """The cards that `nvidia-smi` tells; none where it is missing, fails, or takes longer than TOOL_SECONDS."""
    tool = which("nvidia-smi")
    if tool is None:
        return ()
    try:
        done = subprocess.run(
            [tool, *ASKING], capture_output=True, text=True, errors="replace", timeout=TOOL_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("nvidia-smi tells of no cards", why=str(error), said=getattr(error, "stderr", "") or "")
        return ()
    return read_nvidia_rows(done.stdout.splitlines())


def read_nvidia_rows(lines: Iterable[str]) -> tuple[Device, ...]:
    """What `nvidia-smi` prints for ASKING: name, address, percent, and mebibytes in all and free; lines that tell no
    numbers are left out, as those of cards that share the host's memory do."""
    rows = (row for row in csv.reader(lines, skipinitialspace=True) if len(row) == COLUMNS)
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
