"""Which model of a repository a name asks for."""

import pytest

from core.errors import ModelNotFound
from core.models.hub.choose_quant import choose_quant
from core.models.hub.quants import group_quants
from core.models.hub.repository import RepoFile, Repository
from core.names import HubName, parse_name

GGUF = ("Q2_K", "Q4_K_S", "Q4_K_M", "UD-Q4_K_XL", "Q5_K_M", "Q6_K", "Q8_0", "BF16")
SIZES = {label: 300_000_000 * (index + 1) for index, label in enumerate(GGUF)}


def listed(*paths: str, repo: str = "o/r") -> Repository:
    sizes = {f"m-{label}.gguf": size for label, size in SIZES.items()}
    files = tuple(RepoFile(path, sizes.get(path, 1000)) for path in paths)
    return Repository(repo, "c", files, group_quants(repo, "c", files))


def ggufs(*labels: str) -> Repository:
    return listed(*(f"m-{label}.gguf" for label in labels))


SAFETENSORS = ("config.json", "model.safetensors")
GRAPHS = ("config.json", "onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_fp16.onnx", "onnx/model_quantized.onnx")

CHOICES = [
    ("o/r", ggufs(*GGUF), "Q4_K_M"),
    ("o/r", ggufs("Q2_K", "Q4_K_S", "Q6_K"), "Q4_K_S"),
    ("o/r", ggufs("UD-Q4_K_XL", "Q8_0"), "UD-Q4_K_XL"),
    ("o/r", ggufs("Q2_K", "Q8_0"), "Q2_K"),
    ("o/r", ggufs("Q8_0", "BF16"), "Q8_0"),
    ("o/r:Q6_K", ggufs(*GGUF), "Q6_K"),
    ("o/r:q6_k", ggufs(*GGUF), "Q6_K"),
    ("o/r:4bit", ggufs(*GGUF), "Q4_K_M"),
    ("o/r:8bit", ggufs(*GGUF), "Q8_0"),
    ("o/r:fp16", ggufs(*GGUF), "BF16"),
    ("o/r/m-Q5_K_M.gguf", ggufs(*GGUF), "Q5_K_M"),
    ("o/r", listed(*SAFETENSORS, repo="o/r-4bit"), "4bit"),
    ("o/r", listed(*GRAPHS), "onnx-q4"),
    ("o/r:fp16", listed(*GRAPHS), "onnx-fp16"),
    ("o/r:8bit", listed(*GRAPHS), "onnx-quantized"),
    ("o/r:q4", listed(*GRAPHS), "onnx-q4"),
    ("o/r", listed(*GRAPHS, "m-Q4_K_M.gguf"), "Q4_K_M"),
    ("o/r/onnx/model.onnx", listed(*GRAPHS), "onnx-fp32"),
    ("o/r/ggml-base.bin", listed("ggml-base.bin", "ggml-tiny.bin"), "base"),
    ("o/r:pte-a", listed("a.pte"), "pte-a"),
    ("o/r:pte", listed("a.pte"), "pte-a"),
    ("o/r:b-Q8_0", listed("b-Q8_0.gguf"), "Q8_0"),
    ("o/r:safetensors", listed(*SAFETENSORS, repo="o/r-4bit"), "4bit"),
    ("https://hf.co/o/r/tree/main/UD-Q4_K_XL", listed("UD-Q4_K_XL/m-1.gguf", "Q8_0/m-1.gguf"), "UD-Q4_K_XL"),
    ("o/r/cpu/int4", listed("cpu/int4/genai_config.json", "gpu/genai_config.json"), "genai-int4"),
    ("o/r/m-Q8_0-00002-of-00002.gguf", listed("m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"), "Q8_0"),
]


@pytest.mark.parametrize(("text", "repository", "label"), CHOICES)
def test_a_name_asks_for_one_model(text: str, repository: Repository, label: str) -> None:
    name = parse_name(text)
    assert isinstance(name, HubName)
    assert choose_quant(name, repository).label == label


def test_formats_that_engines_take_go_first_and_others_are_left_out() -> None:
    repository = listed(*GRAPHS, "m-Q4_K_M.gguf")
    chosen = choose_quant(HubName("o/r"), repository, ("onnx", "gguf"))
    assert chosen.format == "onnx"
    with pytest.raises(ModelNotFound, match="holds only .*which cannot be run here"):
        choose_quant(HubName("o/r"), repository, ("mnn",))


def test_a_name_that_two_formats_go_by_means_the_one_that_goes_first() -> None:
    repository = listed(*SAFETENSORS, "m-BF16.gguf", repo="o/r-bf16")
    for text in ("o/r:bf16", "o/r:fp16"):
        name = parse_name(text)
        assert isinstance(name, HubName)
        assert choose_quant(name, repository, ("mlx", "gguf")).format == "mlx"
        assert choose_quant(name, repository, ("gguf", "mlx")).format == "gguf"


@pytest.mark.parametrize(
    ("text", "repository", "says"),
    [
        ("o/r:Q9", ggufs("Q2_K", "Q8_0"), r"o/r has no Q9; it has Q2_K \(300 MB\), Q8_0 \(2\.1 GB\)\."),
        ("o/r:fp16", ggufs("Q8_0"), "o/r has no fp16; it has Q8_0"),
        ("o/r/none.gguf", ggufs("Q8_0"), "o/r has no none.gguf; it has Q8_0"),
        ("o/r/config.json", listed(*GRAPHS), "config.json in o/r is no model by itself; choose among onnx-"),
        ("o/r:pte", listed("a.pte", "b.pte"), "o/r has no pte; it has pte-a, pte-b"),
        ("o/r/onnx", listed(*GRAPHS), "o/r has no onnx; it has onnx-"),
        ("o/r", listed("README.md"), "holds nothing that can be run here"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(text: str, repository: Repository, says: str) -> None:
    name = parse_name(text)
    assert isinstance(name, HubName)
    with pytest.raises(ModelNotFound, match=says):
        choose_quant(name, repository)
