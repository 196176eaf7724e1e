"""Cards of AMD and Intel as Linux tells them below /sys, without any driver's tool or library.

AMD's files are described in the kernel's documentation of amdgpu, "GPU sysfs interfaces"; Intel's are what i915 and xe
have of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from core.devices.amd_tool import ask_amd_tool
from core.devices.device import Backend, Device, DeviceKind

SYSTEM: Final = Path("/sys")
AMD, INTEL, NVIDIA = "0x1002", "0x8086", "0x10de"
"""As the kernel writes the makers' numbers."""
DISPLAY_CLASSES: Final = ("0x0300", "0x0302", "0x0380", "0x1200")
"""How the class of a graphics card begins: VGA, 3D, other displays, and accelerators without any."""
MOST_FILE_BYTES: Final = 4096
MOST_MEMORY_BYTES: Final = 1 << 50
"""A card that says it has more says nothing."""
LEAST_APART_BYTES: Final = 1 << 30
"""Graphics inside a processor set less than this aside, or more where the user said so in the firmware."""
_CARD: Final = re.compile(r"card\d+")


class AmdDriver:
    """amdgpu, and `rocm-smi` where the kernel's files are not seen."""

    maker = "AMD"

    def __init__(self, system: Path = SYSTEM) -> None:
        self._system = system

    def read(self) -> tuple[Device, ...]:
        return tuple(_read_amd(path) for path in _list_cards(self._system, AMD)) or ask_amd_tool()


class IntelDriver:
    """i915 and xe. They tell neither load nor, but for some versions, memory."""

    maker = "Intel"

    def __init__(self, system: Path = SYSTEM) -> None:
        self._system = system

    def read(self) -> tuple[Device, ...]:
        return tuple(_read_intel(path) for path in _list_cards(self._system, INTEL))


def find_cards_without_driver(system: Path = SYSTEM) -> tuple[str, ...]:
    """Addresses of NVIDIA's cards that NVIDIA's driver does not drive, so that NVML knows nothing of them."""
    try:
        there = sorted((system / "bus/pci/devices").iterdir())
    except OSError:
        return ()
    return tuple(
        path.name
        for path in there
        if _read_text(path / "vendor") == NVIDIA
        and _read_text(path / "class").startswith(DISPLAY_CLASSES)
        and _find_driver(path) not in ("nvidia", "vfio-pci")
    )


def _list_cards(system: Path, vendor: str) -> list[Path]:
    """The PCI devices of a maker's cards, by address."""
    try:
        names = [path for path in (system / "class/drm").iterdir() if _CARD.fullmatch(path.name)]
        return sorted({(path / "device").resolve() for path in names if _read_text(path / "device/vendor") == vendor})
    except (OSError, RuntimeError):
        # RuntimeError: links that lead in a circle.
        return []


def _read_amd(path: Path) -> Device:
    apart, taken = _read_bytes(path / "mem_info_vram_total"), _read_bytes(path / "mem_info_vram_used")
    shared, shared_taken = _read_bytes(path / "mem_info_gtt_total"), _read_bytes(path / "mem_info_gtt_used")
    # Graphics inside a processor work with what the kernel lends them of the host's memory.
    unified = apart < LEAST_APART_BYTES < shared
    total, used = (apart + shared, taken + shared_taken) if unified else (apart, taken)
    return Device(
        _read_text(path / "product_name") or f"AMD graphics ({_read_text(path / 'device') or 'unknown model'})",
        DeviceKind.UNIFIED if unified else DeviceKind.CARD,
        total,
        max(0, total - used),
        backend=Backend.ROCM,
        load=_read_percent(path / "gpu_busy_percent"),
        address=path.name.lower(),
    )


def _read_intel(path: Path) -> Device:
    """The card's own memory is in files of the card, of the device or of its tiles, as the driver's version has it."""
    cards = sorted((path / "drm").glob("card*")) if (path / "drm").is_dir() else []
    total = max((_read_bytes(card / "lmem_total_bytes") for card in cards), default=0)
    free = max((_read_bytes(card / "lmem_avail_bytes") for card in cards), default=0)
    if not total:
        total = sum(_read_bytes(tile / "physical_vram_size_bytes") for tile in sorted(path.glob("tile*")))
        free = total
    return Device(
        f"Intel graphics ({_read_text(path / 'device') or 'unknown model'})",
        DeviceKind.CARD if total else DeviceKind.UNIFIED,
        total,
        min(free, total),
        backend=Backend.SYCL,
        address=path.name.lower(),
    )


def _find_driver(path: Path) -> str:
    try:
        return (path / "driver").resolve(strict=True).name
    except (OSError, RuntimeError):
        return ""


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_FILE_BYTES).decode("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""


def _read_bytes(path: Path) -> int:
    """Zero where the file is missing, or holds no number of bytes."""
    text = _read_text(path)
    number = int(text) if text.isascii() and text.isdecimal() else 0
    return number if number <= MOST_MEMORY_BYTES else 0


def _read_percent(path: Path) -> float | None:
    text = _read_text(path)
    return float(text) if text.isascii() and text.isdecimal() and int(text) <= 100 else None
