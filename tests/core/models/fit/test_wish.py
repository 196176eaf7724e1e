"""What options fix of a placement."""

import pytest

from core.contract.options import LayerWord, LoadOptions
from core.contract.placement import HOST, SplitMode, TensorRule
from core.errors import UsageError
from core.models.fit.wish import EVERY_LAYERS, PlacementWish, read_wish


def test_options_that_say_nothing_leave_all_to_the_planner() -> None:
    assert read_wish(LoadOptions()) == PlacementWish()
    assert read_wish(LoadOptions(gpu_layers=LayerWord.AUTO, cpu_moe=LayerWord.AUTO)) == PlacementWish()


def test_what_options_say_is_fixed() -> None:
    options = LoadOptions(
        gpu_layers=LayerWord.ALL,
        cpu_moe=3,
        split_mode=SplitMode.ROW,
        tensor_split=(3.0, 1.0),
        main_gpu=1,
        override_tensor=("blk=9=CPU", "exps=CUDA1"),
        kv_offload=False,
        op_offload=False,
        mmap=True,
        mlock=True,
    )
    rules = (TensorRule("blk=9", HOST), TensorRule("exps", "CUDA1"))
    assert read_wish(options) == PlacementWish(
        EVERY_LAYERS, 3, SplitMode.ROW, (3.0, 1.0), 1, rules, False, False, True, True
    )


@pytest.mark.parametrize("text", ["exps", "=CPU", "exps="])
def test_a_rule_without_a_pattern_or_a_device_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no rule for tensors; write PATTERN=DEVICE"):
        read_wish(LoadOptions(override_tensor=(text,)))


@pytest.mark.parametrize(
    ("texts", "rules"),
    [
        (("exps=CPU,attn=CUDA0",), ["exps=CPU", "attn=CUDA0"]),
        ((r"blk\.\d{1,2}\.ffn=CPU", "attn=CUDA0"), [r"blk\.\d{1,2}\.ffn=CPU", "attn=CUDA0"]),
        # As a variable of the environment is divided.
        ((r"blk\.\d{1", r"2}\.ffn=CPU"), [r"blk\.\d{1,2}\.ffn=CPU"]),
    ],
    ids=str,
)
def test_rules_are_divided_by_commas_and_patterns_may_have_some(texts: tuple[str, ...], rules: list[str]) -> None:
    assert [rule.text for rule in read_wish(LoadOptions(override_tensor=texts)).rules] == rules
