"""A placement is obeyed on a card, with the tokens that the processor draws; see `tests.fakes.vulkan`."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.options import KvType, LoadOptions
from core.contract.placement import Placement, SplitMode, TensorRule
from core.devices.device import Device
from core.guide import WEIGHTS
from tests.fakes.placed_loads import load_placed
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
        "two": replace(whole, layers=2),
        "kv with the host": replace(whole, kv_offload=False),
        "feed-forward with the host": replace(whole, rules=(TensorRule(r"ffn_(up|down)", ""),)),
        "rows": replace(whole, split=SplitMode.ROW),
    }
    asked = [replace(OPTIONS, placement=placement) for placement in placements.values()]
    loads = dict(zip(placements, load_placed(folder, WEIGHTS, asked), strict=True))
    assert loads.pop("rows").refused == f"{device.id} cannot share a model by rows; leave --split-mode at layer."
    assert len({load.tokens for load in loads.values()}) == 1
    host = loads["host"].of()

    def share(name: str) -> tuple[float, float]:
        """Of the weights and of the KV cache, what lies on the card."""
        there = loads[name].of(device.id)
        return round(there.weights / host.weights, 2), round(there.kv / host.kv, 2)

    assert share("whole") == (1.0, 1.0)
    assert share("two") == (0.36, 0.25)
    assert share("kv with the host") == (1.0, 0.0)
    assert share("feed-forward with the host") == (0.57, 1.0)


def test_a_card_that_helps_with_layers_of_the_host_keeps_flash_attention(card: tuple[Path, Device]) -> None:
    folder, device = card
    part = Placement(devices=(device.id,), layers=2)
    asked = [
        replace(OPTIONS, ctx_size=2048, batch=512, kv_type=kv, placement=placement)
        for placement in (part, replace(part, kv_offload=False))
        for kv in (KvType.F16, KvType.Q8_0)
    ]
    loads = load_placed(folder, WEIGHTS, asked)
    assert [load.refused for load in loads] == [""] * 4
    scores = 512 * 2048 * 4 * 4
    assert max(buffers.compute for load in loads for buffers in load.buffers) < scores
