"""What fits, as the models screen says it."""

import pytest

from core.devices.device import Backend, Device, DeviceKind
from core.errors import UsageError
from core.models.fit.parts import Setup
from core.models.fit.plan import LoadPlan, plan_placement
from tests.fakes.shaped_headers import MIXED, SEVEN, ModelShape, make_header
from tui.screens.models.fit import describe_memory, describe_where, read_machine

GIGA = 1_000_000_000
HOST = Device("a processor", DeviceKind.HOST, 64 * GIGA, 60 * GIGA)


def plan(shape: ModelShape, free: int, main: int = 60 * GIGA) -> LoadPlan:
    host = Device("a processor", DeviceKind.HOST, 64 * GIGA, main)
    card = Device("a card", DeviceKind.CARD, 48 * GIGA, free, "CUDA0", Backend.CUDA)
    return plan_placement(make_header(shape), Setup(4096, slots=1), (host, card))


def test_where_a_model_lies_fits_a_narrow_column() -> None:
    told = [plan(SEVEN, 24 * GIGA), plan(SEVEN, 6 * GIGA), plan(MIXED, 12 * GIGA), plan(SEVEN, 0), plan(SEVEN, 0, GIGA)]
    assert [describe_where(each) for each in told] == ["on card", "18/29 on card", "34 experts out", "main memory", ""]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("12GB, 32GB", "a card of 12.0 GB, 32.0 GB of main memory"),
        ("rtx 3060 12GB", "rtx 3060 of 12.0 GB, 60.0 GB of main memory"),
        ("12GB+8GB, 16GB", "a card of 12.0 GB, a card of 8.0 GB, 16.0 GB of main memory"),
        ("0, 16GB", "16.0 GB of main memory"),
    ],
)
def test_another_machine_is_written_in_a_line(text: str, told: str) -> None:
    assert describe_memory(read_machine(text, HOST)) == told


@pytest.mark.parametrize("text", ["lots", "12GB, much", "voodoo 12GB", ""])
def test_what_is_no_machine_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_machine(text, HOST)
