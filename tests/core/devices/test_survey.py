"""One list of what drivers and library tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.devices.device import Backend, Device, DeviceKind
from core.devices.library import LibraryView
from core.devices.survey import DeviceSurvey, match_devices
from tests.fakes.devices import GIB

HOST = Device("a processor", DeviceKind.HOST, 64 * GIB, 20 * GIB)
H200 = Device(
    "NVIDIA H200", DeviceKind.CARD, 140 * GIB, 40 * GIB, backend=Backend.CUDA, load=90.0, address="0000:c1:00.0"
)
CUDA0 = Device("NVIDIA H200", DeviceKind.CARD, 139 * GIB, 138 * GIB, "CUDA0", Backend.CUDA, address="0000:c1:00.0")
RADEON = Device(
    "Radeon 780M", DeviceKind.UNIFIED, 32 * GIB, 31 * GIB, backend=Backend.ROCM, load=3.0, address="0000:c5:00.0"
)
VULKAN0 = Device("AMD Radeon 780M Graphics (RADV)", DeviceKind.UNIFIED, 31 * GIB, 30 * GIB, "Vulkan0", Backend.VULKAN)


def survey(cards: tuple[Device, ...], view: LibraryView, environment: dict[str, str] | None = None) -> DeviceSurvey:
    return match_devices(HOST, cards, view, environment or {})


def see(*devices: Device) -> LibraryView:
    return LibraryView(devices, tuple(dict.fromkeys(device.backend.value for device in devices)))


def test_a_card_is_one_device_with_the_librarys_name_and_the_drivers_numbers() -> None:
    found = survey((H200,), see(CUDA0))
    (device,) = found.accelerators
    assert (device.id, device.total, device.free, device.load) == ("CUDA0", 139 * GIB, 40 * GIB, 90.0)
    assert (found.host, found.unused, found.problems) == (HOST, (), ())


def test_cards_are_matched_by_address_whatever_their_order() -> None:
    other = Device("NVIDIA H200", DeviceKind.CARD, 140 * GIB, 7 * GIB, backend=Backend.CUDA, address="0000:02:00.0")
    second = Device("NVIDIA H200", DeviceKind.CARD, 139 * GIB, 138 * GIB, "CUDA1", Backend.CUDA, address=other.address)
    found = survey((other, H200), see(CUDA0, second))
    assert [(each.id, each.free) for each in found.accelerators] == [("CUDA0", 40 * GIB), ("CUDA1", 7 * GIB)]


def test_a_card_that_the_library_has_twice_is_one_device() -> None:
    twin = Device("NVIDIA H200", DeviceKind.CARD, 139 * GIB, 1, "Vulkan0", Backend.VULKAN, address=CUDA0.address)
    assert [each.id for each in survey((H200,), see(CUDA0, twin)).accelerators] == ["CUDA0"]


def test_without_an_address_the_name_decides_where_it_leaves_no_doubt() -> None:
    (device,) = survey((RADEON,), see(VULKAN0)).accelerators
    assert (device.id, device.load, device.address) == ("Vulkan0", 3.0, "0000:c5:00.0")
    twins = survey((RADEON,), see(VULKAN0, Device("Radeon 780M", DeviceKind.UNIFIED, GIB, GIB, "Vulkan1")))
    assert [each.load for each in twins.accelerators] == [None, None]


def test_what_shares_the_hosts_memory_has_no_more_free_than_the_host() -> None:
    (device,) = survey((RADEON,), see(VULKAN0)).accelerators
    assert device.free == HOST.free


def test_a_slice_of_a_card_keeps_its_own_numbers() -> None:
    part = Device(
        "NVIDIA H200 MIG 1g", DeviceKind.CARD, 16 * GIB, 15 * GIB, "CUDA0", Backend.CUDA, address=H200.address
    )
    (device,) = survey((H200,), see(part)).accelerators
    assert (device.total, device.free) == (16 * GIB, 15 * GIB)


def test_a_device_behind_the_network_is_no_card_of_this_machine() -> None:
    remote = Device("NVIDIA H200", DeviceKind.REMOTE, 8 * GIB, 8 * GIB, "RPC0[a:1]", Backend.RPC)
    found = survey((H200,), see(remote))
    assert found.accelerators == (remote,)
    assert [each.card for each in found.unused] == [H200]


@pytest.mark.parametrize(
    ("card", "view", "environment", "reason", "mend"),
    [
        (H200, LibraryView(backends=("CPU",)), {}, "was built without CUDA and Vulkan", "-DGGML_CUDA=on"),
        (RADEON, LibraryView(backends=("CPU",)), {}, "was built without ROCm (HIP) and Vulkan", "-DGGML_HIP=on"),
        (H200, LibraryView(installed=False), {}, "llama-cpp-python is not installed", "-DGGML_CUDA=on"),
        (
            H200,
            LibraryView(backends=("CUDA", "CPU")),
            {"CUDA_VISIBLE_DEVICES": ""},
            "the variable CUDA_VISIBLE_DEVICES hides it",
            "unset CUDA_VISIBLE_DEVICES",
        ),
        (
            H200,
            LibraryView(backends=("CUDA", "CPU"), said="ggml_cuda_init: driver too old"),
            {},
            "llama.cpp does not find it. It says: ggml_cuda_init: driver too old.",
            "",
        ),
        (RADEON, LibraryView(backends=("CPU", "Vulkan")), {}, "does not find it; install its Vulkan driver", ""),
        (H200, LibraryView(problem="It hangs."), {}, "is not known", ""),
    ],
)
def test_a_card_that_models_cannot_use_is_told_with_what_mends_it(
    card: Device, view: LibraryView, environment: dict[str, str], reason: str, mend: str
) -> None:
    found = survey((card,), view, environment)
    assert found.devices == (HOST,)
    (unused,) = found.unused
    assert reason in unused.reason
    assert mend in unused.mend
    assert bool(mend) == bool(unused.mend)


def test_a_card_that_may_be_a_device_without_an_address_is_not_said_to_be_unused() -> None:
    arc = Device("Intel graphics (0x56a0)", DeviceKind.UNIFIED, 0, 0, backend=Backend.SYCL, address="0000:03:00.0")
    seen = Device("Intel(R) Arc(TM) A770 Graphics", DeviceKind.CARD, 16 * GIB, 15 * GIB, "SYCL0", Backend.SYCL)
    assert survey((arc, H200), see(seen)).accelerators == (seen,)
    assert [each.card for each in survey((arc, H200), see(seen)).unused] == [H200]


def test_only_a_variable_that_hides_cards_of_its_maker_is_blamed() -> None:
    view = LibraryView(backends=("ROCm", "CPU"))
    (unused,) = survey((RADEON,), view, {"CUDA_VISIBLE_DEVICES": "0"}).unused
    assert unused.mend == ""
    (unused,) = survey((RADEON,), view, {"HIP_VISIBLE_DEVICES": "-1"}).unused
    assert unused.mend == "unset HIP_VISIBLE_DEVICES"


@pytest.mark.parametrize("name", ["GGML_VK_VISIBLE_DEVICES", "VK_DRIVER_FILES"])
def test_a_variable_that_hides_cards_from_vulkan_is_blamed_for_any_makers(name: str) -> None:
    view = LibraryView(backends=("Vulkan", "CPU"))
    (unused,) = survey((RADEON,), view, {"HIP_VISIBLE_DEVICES": "-1", name: "3"}).unused
    assert unused.mend == f"unset {name}"


ADDRESSES = st.sampled_from(["", "0000:01:00.0", "0000:02:00.0"])
SIZES = st.integers(0, 200 * GIB)
CARDS = st.builds(Device, st.sampled_from(["a", "ab", "c"]), st.just(DeviceKind.CARD), SIZES, SIZES, address=ADDRESSES)
SEEN = st.builds(
    Device,
    st.sampled_from(["a", "ab", "c"]),
    st.sampled_from([DeviceKind.CARD, DeviceKind.UNIFIED, DeviceKind.REMOTE]),
    SIZES,
    SIZES,
    st.uuids().map(str),
    st.sampled_from(Backend),
    address=ADDRESSES,
)


@given(st.lists(CARDS, max_size=4), st.lists(SEEN, max_size=4))
def test_no_card_is_lost_and_none_told_twice(cards: list[Device], seen: list[Device]) -> None:
    found = match_devices(HOST, cards, LibraryView(tuple(seen), ("CUDA",)), {})
    assert found.devices[0] == HOST
    named = [each.address for each in seen if each.address]
    assert len(found.accelerators) == len(seen) - len(named) + len(set(named))
    assert len(found.unused) <= len(cards)
    if all(each.address for each in seen):
        assert len(found.unused) >= len(cards) - len(found.accelerators)
    assert all(each.id for each in found.accelerators)
