"""Which files have heads that llama.cpp can run, by their headers."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from core.models.formats.gguf_header import GgufHeader, Tensor
from core.models.formats.gguf_mtp import count_mtp_layers, sum_mtp_bytes

HEAD = ("nextn.eh_proj.weight", "nextn.enorm.weight", "nextn.hnorm.weight", "ffn_gate_inp.weight", "attn_qkv.weight")
NO_MORE: Mapping[str, float] = {}


def header(architecture: str, heads: int = 1, layers: int = 4, more: Mapping[str, float] = NO_MORE) -> GgufHeader:
    told: Mapping[str, float] = {"nextn_predict_layers": heads, "block_count": layers, **more}
    names = [f"blk.{index}.{name}" for index in range(layers - heads, layers) for name in HEAD]
    tensors = tuple(Tensor(name, 10, 40, "F32") for name in ("blk.0.attn_norm.weight", *names))
    return GgufHeader({f"{architecture}.{key}": value for key, value in told.items()}, {}, tensors, 0)


@pytest.mark.parametrize(
    ("found", "architecture", "count"),
    [
        (header("glm4moe"), "glm4moe", 1),
        (header("glm4moe", heads=2), "glm4moe", 0),
        (header("mimo2", heads=3), "mimo2", 3),
        (header("qwen35"), "qwen35", 1),
        (header("deepseek2"), "deepseek2", 0),
        (header("deepseek2", more={"attention.key_length_mla": 80}), "deepseek2", 1),
        (
            header("deepseek2", more={"attention.key_length_mla": 80, "attention.temperature_scale": 0.1}),
            "deepseek2",
            0,
        ),
        (header("qwen3next"), "qwen3next", 0),
        (header("llama", heads=0), "llama", 0),
        (header("glm4moe", heads=4), "glm4moe", 0),
    ],
)
def test_heads_count_where_llama_cpp_has_a_graph_for_them(found: GgufHeader, architecture: str, count: int) -> None:
    assert count_mtp_layers(found, architecture) == count


@pytest.mark.parametrize("name", HEAD[:4])
def test_a_header_that_promises_heads_whose_weights_are_not_there_has_none(name: str) -> None:
    whole = header("glm4moe")
    cut = replace(whole, tensors=tuple(each for each in whole.tensors if each.name != f"blk.3.{name}"))
    assert count_mtp_layers(cut, "glm4moe") == 0


def test_the_heads_of_a_split_file_may_be_in_its_last_part() -> None:
    whole = header("glm4moe")
    first = replace(whole, tensors=whole.tensors[:1])
    assert count_mtp_layers(first, "glm4moe") == 0
    assert count_mtp_layers(first, "glm4moe", whole.tensors[1:]) == 1


def test_only_the_weights_of_the_heads_are_summed() -> None:
    found = header("mimo2", heads=2)
    assert sum_mtp_bytes(found.tensors, 4, 2) == 2 * len(HEAD) * 40
    assert sum_mtp_bytes(found.tensors, 4, 0) == 0
