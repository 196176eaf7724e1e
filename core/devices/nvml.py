"""NVIDIA's cards through NVML, the driver's own library: live numbers, and no memory of the card taken for asking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from core.devices.device import Backend, Device, DeviceKind
from core.devices.driver import DriverFailed
from core.devices.kernel import find_cards_without_driver
from core.devices.nvidia_tool import ask_nvidia_tool, normalize_address

if TYPE_CHECKING:
    from types import ModuleType

SIGNS: Final = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")
"""One of these is there where NVIDIA's driver is: on Linux, and in Linux on Windows."""
Told = TypeVar("Told")


def has_nvidia_driver() -> bool:
    """Whether NVML may be there: looking for it costs an import."""
    return sys.platform == "win32" or any(Path(sign).exists() for sign in SIGNS)


class NvmlDriver:
    """Asks NVML, and `nvidia-smi` where NVML or its bindings are missing."""

    maker = "NVIDIA"

    def __init__(
        self,
        is_there: Callable[[], bool] = has_nvidia_driver,
        find_cards: Callable[[], Sequence[str]] = find_cards_without_driver,
    ) -> None:
        """`find_cards` gives the addresses of cards that the driver does not drive."""
        self._is_there = is_there
        self._find_cards = find_cards
        self._nvml: ModuleType | None = None
        """None until it is initialised, which stays so: doing it for each question would wake the cards each time."""

    def read(self) -> tuple[Device, ...]:
        if self._nvml is None:
            if not self._is_there():
                if lost := self._find_cards():
                    raise DriverFailed(
                        f"NVIDIA's driver is not here for the card at {', '.join(lost)}: install it to use the card."
                    )
                return ()
            try:
                self._nvml = _open_nvml()
            except ImportError:
                return ask_nvidia_tool()
            if self._nvml is None:
                return ask_nvidia_tool()
        nvml, cards, why = self._nvml, [], None
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                try:
                    cards.append(_read_card(nvml, index))
                except nvml.NVMLError as error:
                    # One card that is lost takes no other with it.
                    why = error
        except nvml.NVMLError as error:
            why = error
        if why is not None and not cards:
            # After a reset of the cards or an update of the driver the connection is worth nothing.
            self._nvml = None
            raise DriverFailed(_explain(nvml, why)) from why
        return tuple(cards)


def _open_nvml() -> ModuleType | None:
    """The bindings, initialised; None where this machine has no NVML. Raises ImportError, DriverFailed."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if _is_error(pynvml, error, "LIBRARY_NOT_FOUND"):
            return None
        raise DriverFailed(_explain(pynvml, error)) from error
    opened: ModuleType = pynvml
    return opened


def _read_card(nvml: ModuleType, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = _ask(nvml, lambda: nvml.nvmlDeviceGetName(handle))
    memory = _ask(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    busy = _ask(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    place = _ask(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle))
    return Device(
        _read_text(name) or "NVIDIA card",
        # Where it has no numbers of its own, it takes its memory from the host's.
        DeviceKind.CARD if memory is not None else DeviceKind.UNIFIED,
        int(memory.total) if memory is not None else 0,
        min(int(memory.free), int(memory.total)) if memory is not None else 0,
        backend=Backend.CUDA,
        load=min(100.0, float(busy.gpu)) if busy is not None else None,
        address=normalize_address(_read_text(place.busId)) if place is not None else "",
    )


def _ask(nvml: ModuleType, question: Callable[[], Any]) -> Any | None:
    """The answer; None where this card does not tell it. Raises NVMLError for all else."""
    try:
        return question()
    except nvml.NVMLError as error:
        if _is_error(nvml, error, "NOT_SUPPORTED", "NO_PERMISSION", "FUNCTION_NOT_FOUND"):
            return None
        raise


def _is_error(nvml: ModuleType, error: Exception, *names: str) -> bool:
    return getattr(error, "value", None) in {getattr(nvml, f"NVML_ERROR_{name}") for name in names}


def _explain(nvml: ModuleType, error: Exception) -> str:
    """What keeps NVIDIA's cards from being read, and what mends it."""
    if _is_error(nvml, error, "DRIVER_NOT_LOADED"):
        return "NVIDIA's driver is installed and not loaded: load it (modprobe nvidia), or restart the machine."
    if _is_error(nvml, error, "LIB_RM_VERSION_MISMATCH"):
        return "NVIDIA's driver was updated and the old one still runs: restart the machine to use its cards."
    if _is_error(nvml, error, "GPU_IS_LOST"):
        return "A card of NVIDIA's fell off the bus: restart the machine to use it again."
    if _is_error(nvml, error, "NO_PERMISSION"):
        return "NVIDIA's driver refuses this user: ask for access to /dev/nvidia*."
    return f"NVIDIA's driver tells nothing of its cards: {error}."


def _read_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
