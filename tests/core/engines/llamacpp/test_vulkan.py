"""A placement is obeyed on a card, with the tokens that the processor draws; see `tests.fakes.vulkan`."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.options import LoadOptions
from core.contract.placement import Placement, SplitMode, TensorRule
from core.devices.device import Device
from tests.fakes.architectures import write_random
from tests.fakes.placed_loads import load_placed
from tests.fakes.real_weights import SMOLLM2, real_weights
from tests.fakes.vulkan import find_vulkan_device

OPTIONS = LoadOptions(ctx_size=512, slots=1, batch=128, threads=1, extra_buffers=False)
ALL = 1000


@pytest.fixture(scope="module")
def card() -> tuple[Path, Device]:
    return find_vulkan_device()


def test_every_field_of_a_placement_is_obeyed_on_a_card(card: tuple[Path, Device]) -> None:
    folder, device = card
    whole = Placement(devices=(device.id,), layers=ALL)
    placements = {
        "host": Placement(),
        "whole": whole,
        "ten": replace(whole, layers=10),
        "kv with the host": replace(whole, kv_offload=False),
        "feed-forward with the host": replace(whole, rules=(TensorRule(r"ffn_(up|down)", ""),)),
        "rows": replace(whole, split=SplitMode.ROW),
    }
    asked = [replace(OPTIONS, placement=placement) for placement in placements.values()]
    loads = dict(zip(placements, load_placed(folder, real_weights(SMOLLM2), asked), strict=True))
    assert loads.pop("rows").refused == f"{device.id} cannot share a model by rows; leave --split-mode at layer."
    assert len({load.tokens for load in loads.values()}) == 1
    host = loads["host"].of()

    def share(name: str) -> tuple[float, float]:
        """Of the weights and of the KV cache, what lies on the card."""
        there = loads[name].of(device.id)
        return round(there.weights / host.weights, 2), round(there.kv / host.kv, 2)

    assert share("whole") == (1.0, 1.0)
    assert share("ten") == (0.52, 0.3)
    assert share("kv with the host") == (1.0, 0.0)
    assert share("feed-forward with the host") == (0.66, 1.0)


def test_experts_stay_with_the_host_beside_a_card(card: tuple[Path, Device], tmp_path: Path) -> None:
    folder, device = card
    whole = Placement(devices=(device.id,), layers=ALL)
    asked = [replace(OPTIONS, placement=replace(whole, expert_layers=layers)) for layers in (0, 2, 99)]
    loads = load_placed(folder, write_random("qwen3moe", tmp_path), asked)
    there = [load.of(device.id).weights for load in loads]
    expert = 3 * 16 * 384 * 256 * 4
    assert [there[0] - each for each in there] == pytest.approx([0, 2 * expert, 4 * expert], rel=0.01)
    assert len({load.tokens for load in loads}) == 1
