"""How much of a Mac's memory Metal may take."""

import pytest

from core.devices.apple import compute_metal_share
from tests.fakes.devices import GIB


@pytest.mark.parametrize(
    ("memory", "limit", "share"),
    [
        (16 * GIB, 0, 16 * GIB * 2 // 3),
        (36 * GIB, 0, 27 * GIB),
        (128 * GIB, 0, 96 * GIB),
        (128 * GIB, 112 * 1024, 112 * GIB),
        (16 * GIB, 64 * 1024, 16 * GIB),
    ],
)
def test_metal_takes_what_the_user_allows_or_macos_does(memory: int, limit: int, share: int) -> None:
    assert compute_metal_share(memory, limit) == share
