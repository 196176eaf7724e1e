"""AMD's cards as ROCm's own tool tells them, where the kernel's files are not seen, as in some containers."""

from __future__ import annotations

from shutil import which
from typing import Final

import msgspec

from core.devices.brief_process import run_briefly
from core.devices.device import Backend, Device, DeviceKind
from core.devices.nvidia_tool import normalize_address
from core.telemetry.log import get_logger

ASKING: Final = ("--showproductname", "--showmeminfo", "vram", "--showuse", "--showbus", "--json")
TOOL_SECONDS: Final = 3.0
"""Seconds that the tool may take: it is a script, and looks at all that there is."""
log = get_logger(__name__)


def ask_amd_tool() -> tuple[Device, ...]:
    """The cards that `rocm-smi` tells; none where it is missing, fails, or takes longer than TOOL_SECONDS."""
    tool = which("rocm-smi")
    if tool is None:
        return ()
    try:
        told = run_briefly([tool, *ASKING], TOOL_SECONDS)
    except OSError as error:
        log.debug("rocm-smi cannot be started", why=str(error))
        return ()
    if told is None or told.code:
        log.debug("rocm-smi tells of no cards", said=told.said if told else "nothing in time")
        return ()
    return read_amd_cards(told.out)


def read_amd_cards(text: str) -> tuple[Device, ...]:
    """What `rocm-smi` prints for ASKING: an object of texts for each card. What tells no numbers is left out."""
    try:
        # Warnings stand before the object.
        cards = msgspec.json.decode(text[max(0, text.find("{")) :], type=dict[str, dict[str, str]])
    except msgspec.DecodeError:
        return ()
    return tuple(card for each in cards.values() if (card := _read_card(each)) is not None)


def _read_card(fields: dict[str, str]) -> Device | None:
    total, used = fields.get("VRAM Total Memory (B)", ""), fields.get("VRAM Total Used Memory (B)", "")
    if not (total.isdecimal() and used.isdecimal()):
        return None
    busy = fields.get("GPU use (%)", "")
    return Device(
        fields.get("Card Series") or fields.get("Card series") or "AMD card",
        DeviceKind.CARD,
        int(total),
        max(0, int(total) - int(used)),
        backend=Backend.ROCM,
        load=min(100.0, float(busy)) if busy.isdecimal() else None,
        address=normalize_address(fields.get("PCI Bus", "")),
    )
