"""One list of devices out of what the drivers, the kernel and llama.cpp's library each tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.devices.device import Backend, Device, DeviceKind
from core.devices.library import HIDING, LibraryView

SAME_TOTAL_SHARE: Final = 0.1
"""By how much two may differ that tell of the same memory: drivers keep some for themselves. A larger difference is
that of a slice of a card to the whole."""
NEED_OF_BACKEND: Final[Mapping[Backend, str]] = {
    Backend.CUDA: "CUDA",
    Backend.ROCM: "HIP",
    Backend.SYCL: "SYCL",
    Backend.METAL: "METAL",
}
"""What llama-cpp-python is built with for a maker's cards: the word in `-DGGML_...=on`."""
ANY_CARD: Final = (Backend.VULKAN, Backend.OPENCL, Backend.WEBGPU)
"""Parts of the library that compute on the cards of several makers."""
ELSEWHERE: Final = frozenset({Backend.CPU.value, Backend.RPC.value, "BLAS"})
"""Parts that look for no accelerator of this machine."""


class UnusedCard(Struct, frozen=True):
    """A card of this machine that models cannot lie on, and why."""

    card: Device
    reason: str
    """A sentence."""
    mend: str = ""
    """The command that mends it; empty where there is none."""


class DeviceSurvey(Struct, frozen=True):
    """All that is known of this machine's devices at one moment."""

    devices: tuple[Device, ...]
    """The host first, then the accelerators that llama.cpp can use, in its order."""
    unused: tuple[UnusedCard, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be found out, in sentences."""
    parts: tuple[str, ...] = ()
    """Those of llama.cpp that look for accelerators of this machine, by the names of their registries."""

    @property
    def host(self) -> Device:
        return self.devices[0]

    @property
    def accelerators(self) -> tuple[Device, ...]:
        return self.devices[1:]


def match_devices(
    host: Device,
    cards: Sequence[Device],
    view: LibraryView,
    environment: Mapping[str, str],
    problems: Sequence[str] = (),
) -> DeviceSurvey:
    """`cards` are those of the drivers, with live numbers and without ids; `view` is what the library can use.

    A card is one device, with the library's name for it and the driver's numbers: by its address, else by its name
    where that leaves no doubt. A card that may be one of the library's devices, and is not known to be, is in no list
    of its own. Where the library has two devices for one card, such as CUDA0 and Vulkan0, the first
    one counts, as it does for llama.cpp.
    """
    devices: list[Device] = []
    left = list(cards)
    addresses: set[str] = set()
    for device in view.devices:
        if device.address and device.address in addresses:
            continue
        addresses.add(device.address)
        card = _find_card(device, left, view.devices)
        if card is not None:
            left.remove(card)
        devices.append(_join(device, card, host))
    doubtful = {each.backend for each in devices if not each.address}
    unused = tuple(UnusedCard(card, *_explain(card, view, environment)) for card in left if not _may_be(card, doubtful))
    told = (*view.lost, *([view.problem] if view.problem else []))
    parts = tuple(part for part in view.backends if part not in ELSEWHERE)
    return DeviceSurvey((host, *devices), unused, (*problems, *told), parts)


def is_same_memory(card: Device, device: Device) -> bool:
    """Whether a driver's card is the whole of a library's device: of a slice it is not."""
    return abs(card.total - device.total) <= SAME_TOTAL_SHARE * device.total or not device.total


def _find_card(device: Device, cards: Sequence[Device], all_devices: Sequence[Device]) -> Device | None:
    if device.kind is DeviceKind.REMOTE:
        return None
    if device.address:
        return next((card for card in cards if card.address == device.address), None)
    if device.backend is Backend.METAL:
        return next((card for card in cards if card.backend is Backend.METAL), None)
    alike = [card for card in cards if _is_same_name(card.name, device.name)]
    rivals = [each for each in all_devices if not each.address and _is_same_name(each.name, device.name)]
    # Several of the same name stand in the same order as a rule, and in a wrong one the numbers would be another's.
    return alike[0] if len(alike) == len(rivals) == 1 else None


def _may_be(card: Device, backends: Set[Backend]) -> bool:
    """Whether a card may be a device without an address, of those that these parts of the library have."""
    return card.backend in backends or not backends.isdisjoint(ANY_CARD)


def _is_same_name(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    return bool(one and other) and (one in other or other in one)


def _join(device: Device, card: Device | None, host: Device) -> Device:
    joined = device
    if card is not None:
        joined = replace(device, load=card.load, address=device.address or card.address)
        if is_same_memory(card, device):
            # The library's total is what it may take: its own context is no part of it.
            total = device.total or card.total
            joined = replace(joined, total=total, free=min(card.free, total))
    if joined.kind is DeviceKind.UNIFIED:
        return replace(joined, free=min(joined.total, host.free))
    return joined


def _explain(card: Device, view: LibraryView, environment: Mapping[str, str]) -> tuple[str, str]:
    """Why llama.cpp does not use a card, and the command that mends it."""
    need = NEED_OF_BACKEND.get(card.backend, "VULKAN")
    if not view.installed:
        return "Models do not run on it: llama-cpp-python is not installed.", _command(need)
    if view.problem:
        return "Whether models run on it is not known.", ""
    able = [
        each for each in (card.backend, *sorted(ANY_CARD, key=lambda part: part.value)) if each.value in view.backends
    ]
    if not able:
        return f"Models do not run on it: llama-cpp-python was built without {_words(need)}.", _command(need)
    if hiding := next((name for each in able for name in HIDING.get(each, ()) if name in environment), ""):
        return f"Models do not run on it: the variable {hiding} hides it from llama.cpp.", f"unset {hiding}"
    said = f" It says: {view.said}." if view.said else ""
    if Backend.VULKAN in able and card.backend not in able:
        # The kernel drives it, and what Vulkan needs besides is a package of its own.
        mend = "install its Vulkan driver, Mesa's or its maker's"
        return f"Models do not run on it: Vulkan does not find it; {mend}.{said}", ""
    return f"Models do not run on it: llama.cpp does not find it.{said}", ""


def _words(need: str) -> str:
    return {"HIP": "ROCm (HIP) and Vulkan", "SYCL": "SYCL and Vulkan", "METAL": "Metal", "VULKAN": "Vulkan"}.get(
        need, f"{need} and Vulkan"
    )


def _command(need: str) -> str:
    # What SYCL is built with is a tool kit of many gigabytes; Vulkan comes with the driver.
    need = "VULKAN" if need == "SYCL" else need
    return f'CMAKE_ARGS="-DGGML_{need}=on" uv pip install --reinstall --no-binary llama-cpp-python llama-cpp-python'
