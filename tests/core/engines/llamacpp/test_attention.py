"""What is tried of passes where a model lies on devices, and where it does not."""

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.contract.placement import Placement
from core.engines.llamacpp.attention import drop_flash_attention
from core.engines.llamacpp.engine import LlamaCppEngine
from core.guide import WEIGHTS

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
ON_HOST = LoadOptions(placement=Placement())
ON_CARD = LoadOptions(placement=Placement(("CUDA0",), layers=3))


def test_attention_without_blocks_is_no_choice_where_its_scores_would_lie_on_a_device() -> None:
    assert drop_flash_attention(GUIDE, ON_HOST) is not None
    assert drop_flash_attention(GUIDE, ON_CARD) is None


def test_no_larger_passes_are_tried_than_those_that_layers_were_placed_for() -> None:
    engine = LlamaCppEngine()
    assert max(size.micro_batch for size in engine.sizes(GUIDE, ON_HOST)) > 512
    assert max(size.micro_batch for size in engine.sizes(GUIDE, ON_CARD)) == 512
