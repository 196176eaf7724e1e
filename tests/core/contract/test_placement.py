"""A placement tells where each layer lies, and how there can be less on the devices."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.contract.placement import HOST, Placement, TensorRule

WHOLE = Placement(devices=("CUDA0", "CUDA1"), layers=25, shares=(3.0, 1.0))


def test_more_layers_than_there_are_mean_all() -> None:
    assert [replace(WHOLE, layers=layers).count_layers(24) for layers in (0, 25, 99)] == [0, 25, 25]
    assert Placement(layers=99).count_layers(24) == 0


def test_layers_leave_the_devices_from_the_first_on() -> None:
    lighter = WHOLE.lightened(24, 0, 2)
    assert lighter == replace(WHOLE, layers=23)
    assert lighter is not None
    assert lighter.lightened(24, 0, 4) == replace(WHOLE, layers=19)


def test_experts_leave_before_whole_layers() -> None:
    told = [placement := WHOLE]
    while (lighter := placement.lightened(24, 24, 12)) is not None:
        told.append(placement := lighter)
    assert [(each.expert_layers, each.layers) for each in told] == [
        (0, 25),
        (12, 25),
        (24, 25),
        (24, 13),
        (24, 1),
        (0, 0),
    ]


def test_experts_of_layers_that_lie_with_the_host_are_there_already() -> None:
    half = replace(WHOLE, layers=13)
    lighter = half.lightened(24, 24, 2)
    assert lighter is not None
    assert lighter.expert_layers == 14


def test_at_last_no_device_is_named() -> None:
    rules = (TensorRule("exps", HOST), TensorRule("attn", "CUDA1"))
    last = replace(WHOLE, layers=2, rules=rules, mapped=False, locked=True).lightened(24, 0, 2)
    assert last == Placement(rules=rules[:1], mapped=False, locked=True)
    assert last is not None
    assert last.on_host
    assert last.lightened(24, 0, 2) is None


@pytest.mark.parametrize(
    ("rule", "text"), [(TensorRule("a|b", "CUDA0"), "a|b=CUDA0"), (TensorRule("a", HOST), "a=CPU")]
)
def test_a_rule_is_written_as_in_the_settings(rule: TensorRule, text: str) -> None:
    assert rule.text == text
