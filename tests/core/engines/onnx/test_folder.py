from pathlib import Path

import pytest

from core.engines.onnx.folder import SMALL_BYTES, Variant, choose_variant


def variant(label: str, size: int = SMALL_BYTES + 1) -> Variant:
    return Variant(Path(f"model_{label}.onnx"), label, size)


ALL = [variant(label) for label in ("", "fp16", "q4", "q4f16", "quantized", "int8", "bnb4")]


def test_a_processor_takes_blocks_of_four_bits() -> None:
    assert choose_variant(ALL, accelerated=False).label == "q4"


def test_a_processor_takes_full_precision_while_it_is_small() -> None:
    assert choose_variant([variant("", SMALL_BYTES), *ALL], accelerated=False).size == SMALL_BYTES


def test_an_accelerator_takes_half_precision() -> None:
    assert choose_variant(ALL, accelerated=True).label == "fp16"


@pytest.mark.parametrize("accelerated", [True, False])
def test_an_unknown_variant_is_the_last_choice_and_still_one(accelerated: bool) -> None:
    assert choose_variant([variant("odd"), variant("uint8")], accelerated=accelerated).label == "uint8"
    assert choose_variant([variant("odd")], accelerated=accelerated).label == "odd"


def test_parameters_are_told_only_where_nothing_is_quantized() -> None:
    assert variant("", 400).parameters == 100
    assert variant("fp16", 400).parameters == 200
    assert variant("q4", 400).parameters == 0
