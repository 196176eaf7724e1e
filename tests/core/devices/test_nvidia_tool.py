"""What NVIDIA's tool prints."""

import pytest

from core.devices.device import Backend, Device, DeviceKind
from core.devices.nvidia_tool import MEBIBYTE_BYTES, normalize_address, read_nvidia_rows


def test_cards_are_read_off_what_the_tool_prints() -> None:
    lines = [
        "NVIDIA H100 80GB HBM3, 00000000:C1:00.0, 37, 81559, 80994",
        "NVIDIA RTX 4090, 00000000:01:00.0, [N/A], 24564, 1024",
    ]
    hopper, ada = read_nvidia_rows(lines)
    assert hopper == Device(
        "NVIDIA H100 80GB HBM3",
        DeviceKind.CARD,
        81559 * MEBIBYTE_BYTES,
        80994 * MEBIBYTE_BYTES,
        backend=Backend.CUDA,
        load=37.0,
        address="0000:c1:00.0",
    )
    assert (ada.load, ada.used) == (None, 23540 * MEBIBYTE_BYTES)


def test_lines_that_tell_no_numbers_are_left_out() -> None:
    assert read_nvidia_rows(["NVIDIA GB10, 0000000F:01:00.0, 0, [N/A], [N/A]", "", "No devices were found"]) == ()


@pytest.mark.parametrize(
    ("told", "address"), [("00000000:C1:00.0", "0000:c1:00.0"), ("0000:c1:00.0", "0000:c1:00.0"), ("N/A", ""), ("", "")]
)
def test_addresses_are_written_as_the_kernel_writes_them(told: str, address: str) -> None:
    assert normalize_address(told) == address
