"""What `--memory-limit` may say."""

import pytest

from core.devices.device import Backend, Device, DeviceKind
from core.serving.pool.eviction import choose_memory_limit
from core.serving.pool.limits import read_memory_limits

GIGA = 1_000_000_000
CARD = Device("a card", DeviceKind.CARD, 12 * GIGA, 11 * GIGA, "CUDA0", Backend.CUDA)
HOST = Device("a processor", DeviceKind.HOST, 32 * GIGA, 20 * GIGA)


def test_one_size_is_that_of_main_memory() -> None:
    assert read_memory_limits("12GB", 32 * GIGA).host == 12 * GIGA
    assert read_memory_limits("50%", 32 * GIGA).host == 16 * GIGA
    assert read_memory_limits(None, 32 * GIGA).host == choose_memory_limit(32 * GIGA)


def test_devices_have_sizes_of_their_own() -> None:
    limits = read_memory_limits("CUDA0=10GB, host=24GB", 32 * GIGA)
    assert (limits.host, limits.limit_device(CARD)) == (24 * GIGA, 10 * GIGA)
    assert limits.find_unknown((HOST, CARD)) == ""
    assert read_memory_limits("cuda0=50%", 32 * GIGA).limit_device(CARD) == 6 * GIGA
    # What is left free there is subtracted by planning, once.
    assert read_memory_limits("12GB", 32 * GIGA).limit_device(CARD) == 12 * GIGA
    assert read_memory_limits("CUDA0=100%", 32 * GIGA).limit_device(CARD) == 12 * GIGA
    assert read_memory_limits("CUDA0=40GB", 32 * GIGA).limit_device(CARD) == 12 * GIGA


def test_a_device_that_is_not_here_is_told_with_those_that_are() -> None:
    told = read_memory_limits("CUDA1=10GB,rpc0[a:1]=1GB", 32 * GIGA).find_unknown((HOST, CARD))
    assert told == ("--memory-limit names cuda1, rpc0[a:1], which are no devices here; these are: host, CUDA0.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CUDA0=lots", "'lots' is no size"),
        ("=1GB", "names no memory"),
        ("host=1GB,2GB", "gives main memory two sizes"),
        ("CUDA0=1GB,cuda0=2GB", "gives cuda0 two sizes"),
        ("", "is no size"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_memory_limits(text, 32 * GIGA)
