"""How fast a model would decode: bytes that a token reads, and how fast its memory is."""

from pathlib import Path

import pytest

from core.contract.placement import TensorRule
from core.devices.device import Backend, Device, DeviceKind
from core.errors import UsageError
from core.models.fit.bandwidth import find_bandwidth
from core.models.fit.parts import Setup
from core.models.fit.plan import LoadPlan, plan_placement
from core.models.fit.rates import LEAST_READ_BYTES, DeviceRates
from core.models.fit.speed import SpeedBasis, count_read_bytes, estimate_speed
from core.models.fit.what_if import make_devices
from core.models.fit.wish import PlacementWish
from tests.fakes.shaped_headers import HALF, MIXED, SEVEN, ModelShape, make_header

GIB, GIGA = 1 << 30, 1e9
HOST = Device("a processor", DeviceKind.HOST, 128 * GIB, 100 * GIB)


def plan(shape: ModelShape, free: int, name: str = "NVIDIA GeForce RTX 3060") -> LoadPlan:
    card = Device(name, DeviceKind.CARD, 48 * GIB, free, "CUDA0", Backend.CUDA)
    return plan_placement(make_header(shape), Setup(2048, slots=1), (HOST, card))


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("NVIDIA GeForce RTX 3060", 360),
        ("NVIDIA GeForce RTX 3060 Ti", 608),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", 256),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 672),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", 0),
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H200", 4800),
        ("AMD Radeon RX 7900 XTX", 960),
        ("Intel(R) Arc(TM) B580 Graphics", 456),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1597),
        ("Apple M2 Max", 400),
        ("Apple M2", 100),
        ("NVIDIA L40S", 864),
        ("a card of 12 GB", 0),
    ],
)
def test_cards_and_chips_are_known_by_their_names(name: str, gigabytes: float) -> None:
    assert find_bandwidth(name) == gigabytes * GIGA


def test_a_token_reads_all_weights_once_but_the_embeddings_of_other_tokens() -> None:
    header = make_header(SEVEN)
    made = plan(SEVEN, 24 * GIB)
    host, card = count_read_bytes(header, made)
    assert host == 0
    assert card == made.on_devices[0].parts.weights + made.on_devices[0].parts.kv
    # The embeddings that serve as the head are read all the same, once.
    alone = plan_placement(make_header(HALF), Setup(2048, slots=1), (HOST,))
    assert count_read_bytes(make_header(HALF), alone) == (alone.host.parts.weights + alone.host.parts.kv,)


def test_of_experts_a_token_reads_those_that_it_uses() -> None:
    header, made = make_header(MIXED), plan(MIXED, 40 * GIB)
    experts = sum(block.experts for block in header.lay_out().blocks)
    (_, card) = count_read_bytes(header, made)
    parts = made.on_devices[0].parts
    assert card == pytest.approx(parts.weights + parts.kv - experts * (1 - 8 / 128), rel=0.001)
    some = plan(MIXED, 12 * GIB)
    assert sum(count_read_bytes(header, some)) == pytest.approx(card, rel=0.02)


def test_experts_that_a_rule_puts_elsewhere_are_read_there_as_few_as_are_used() -> None:
    header = make_header(MIXED)
    wish = PlacementWish(rules=(TensorRule("exps", ""),))
    card = Device("NVIDIA GeForce RTX 3060", DeviceKind.CARD, 48 * GIB, 40 * GIB, "CUDA0", Backend.CUDA)
    alone, ruled = (
        count_read_bytes(header, plan_placement(header, Setup(2048, slots=1), (HOST, card), each))
        for each in (PlacementWish(), wish)
    )
    experts = sum(block.experts for block in header.lay_out().blocks)
    assert ruled[0] == pytest.approx(experts * 8 / 128, rel=0.001)
    assert sum(ruled) == pytest.approx(sum(alone), rel=0.001)


def test_the_slower_memory_decides_and_its_basis_is_told() -> None:
    header = make_header(SEVEN)
    whole, part = (estimate_speed(header, plan(SEVEN, free)) for free in (24 * GIB, 5 * GIB))
    assert whole is not None
    assert part is not None
    assert whole.tokens == pytest.approx(360 * GIGA / sum(count_read_bytes(header, plan(SEVEN, 24 * GIB))))
    assert part.tokens < whole.tokens / 2
    assert (whole.basis, part.basis) == (SpeedBasis.DATA_SHEET, SpeedBasis.ASSUMED)
    measured = estimate_speed(header, plan(SEVEN, 24 * GIB), {"CUDA0": 100 * GIGA})
    assert measured is not None
    assert measured.basis is SpeedBasis.MEASURED
    assert (whole.bound[0], measured.bound[0].isdigit()) == ("<", True)
    assert estimate_speed(header, plan(SEVEN, 24 * GIB, "an unknown card")) is None


def test_the_last_run_of_a_device_is_remembered(tmp_path: Path) -> None:
    rates = DeviceRates(tmp_path / "bandwidths.jsonl")
    rates.add(HOST, LEAST_READ_BYTES, 5.0, "first")
    rates.add(HOST, LEAST_READ_BYTES, 10.0, "second")
    rates.add(HOST, LEAST_READ_BYTES - 1, 99.0, "too small")
    assert [rate.model for rate in rates.all()] == ["second"]
    assert rates.find((HOST,)) == {"": LEAST_READ_BYTES * 10.0}
    assert rates.find(make_devices(HOST, main=GIB)) == {}


def test_another_machine_has_the_memory_that_is_said() -> None:
    memory, first, second = make_devices(HOST, [12 * GIB, 8 * GIB], 32 * GIB, "rtx 3060")
    assert (memory.free, first.free, second.id) == (32 * GIB, 12 * GIB, "CUDA1")
    made = plan_placement(make_header(SEVEN), Setup(2048, slots=1), (memory, first, second), PlacementWish())
    assert estimate_speed(make_header(SEVEN), made) is not None
    assert make_devices(HOST, [GIB])[0] == HOST
    with pytest.raises(UsageError, match="these names are like it: rtx 3060"):
        make_devices(HOST, [GIB], None, "rtx 3061")
