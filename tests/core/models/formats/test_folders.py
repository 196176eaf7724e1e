"""Headers of models that are folders: config.json, and the tables of contents of safetensors files."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contract.artifact import Artifact
from core.contract.options import KvType
from core.errors import ArtifactError
from core.models.formats.header import Header
from core.models.formats.hf_config import Config
from core.models.formats.read import read_header
from core.models.formats.safetensors_table import read_safetensors
from core.models.formats.source import Damaged, FileSource
from tests.fakes.headers import safetensors_bytes
from tests.fakes.weights import mlx_folder, onnx_folder

PLAIN: dict[str, object] = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def folder(path: Path, config: Mapping[str, object], **shards: bytes) -> Header:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    for name, data in (shards or {"model": safetensors_bytes({"w": ("BF16", (8, 4), 64)})}).items():
        (path / f"{name}.safetensors").write_bytes(data)
    return read_header(Artifact("folder", "mlx", path, 0))


def windows(config: dict[str, object]) -> list[int | None]:
    return [layer.window for layer in Config(json.dumps(PLAIN | config).encode()).layers([])]


def test_the_built_in_model_as_safetensors_has_as_many_parameters_as_ever(tmp_path: Path) -> None:
    header = read_header(Artifact("guide", "mlx", mlx_folder(tmp_path), 0))
    assert (header.architecture, header.quantization, header.template) == ("llama", "F16", True)
    assert header.parameters == 3_672_320
    assert header.kv_bytes_per_token(KvType.F16) == 2048


def test_the_built_in_model_as_a_graph_is_described(tmp_path: Path) -> None:
    path = onnx_folder(tmp_path)
    header = read_header(Artifact("guide", "onnx", path, 0))
    assert header.format == "onnx"
    assert header.weight_bytes == sum(file.stat().st_size for file in path.rglob("*.onnx*"))
    assert len(header.layers) == 4


def test_all_shards_are_counted(tmp_path: Path) -> None:
    shard = safetensors_bytes({"w": ("BF16", (8, 4), 64)})
    header = folder(tmp_path, PLAIN, **{"model-00001-of-00002": shard, "model-00002-of-00002": shard})
    assert (header.parameters, header.weight_bytes) == (64, 128)


def test_packed_weights_are_unpacked_and_their_scales_left_out(tmp_path: Path) -> None:
    shard = safetensors_bytes(
        {
            "q.weight": ("U32", (64, 8), 2048),
            "q.scales": ("BF16", (64, 1), 128),
            "q.biases": ("BF16", (64, 1), 128),
            "norm.weight": ("BF16", (64,), 128),
        }
    )
    header = folder(tmp_path, PLAIN | {"quantization": {"bits": 4, "group_size": 64}}, model=shard)
    assert header.parameters == 64 * 64 + 64
    assert header.quantization == "4-bit"
    assert header.weight_bytes == 2432


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({}, "BF16"),
        ({"quantization": {"bits": 8, "group_size": 64}}, "8-bit"),
        ({"quantization": {"bits": 4, "mode": "mxfp4"}}, "MXFP4"),
        ({"quantization_config": {"quant_method": "fp8"}}, "FP8"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "AWQ 4-bit"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "GPTQ 4-bit"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "BITSANDBYTES 4-bit"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "BITSANDBYTES 8-bit"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "MXFP4"),
    ],
)
def test_quantizations_are_told_apart(config: dict[str, object], label: str) -> None:
    assert Config(json.dumps(PLAIN | config).encode()).quantized.label == label


def test_windows_are_read_in_every_way_they_are_told() -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    assert windows({"sliding_window": 128, "layer_types": kinds}) == [128, None, 128]
    assert windows({"sliding_window": 128, "sliding_window_pattern": 3}) == [128, 128, None]
    assert windows({"sliding_window": 128, "use_sliding_window": False}) == [None] * 3
    assert windows({"sliding_window": None}) == [None] * 3


def test_a_window_of_untold_layers_is_an_upper_bound() -> None:
    notes: list[str] = []
    layers = Config(json.dumps(PLAIN | {"sliding_window": 128}).encode()).layers(notes)
    assert [layer.window for layer in layers] == [None] * 3
    assert any("upper bound" in note for note in notes)


def test_linear_layers_keep_no_keys() -> None:
    kinds = ["linear_attention", "linear_attention", "full_attention"]
    layers = Config(json.dumps(PLAIN | {"layer_types": kinds}).encode()).layers([])
    assert [layer.kv_heads for layer in layers] == [0, 0, 2]


def test_the_part_about_text_counts_where_there_are_several() -> None:
    nested = {"model_type": "both", "text_config": PLAIN, "vision_config": {"num_hidden_layers": 99}}
    config = Config(json.dumps(nested).encode())
    assert (config.architecture, len(config.layers([]))) == ("both", 3)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (PLAIN | {"num_hidden_layers": 10**6}, "claims 1000000 layers"),
        (PLAIN | {"vocab_size": -1}, "claims a vocab_size of -1"),
        (PLAIN | {"hidden_size": 10**30}, "config.json"),
    ],
)
def test_absurd_configurations_are_refused(config: dict[str, object], match: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=match):
        folder(tmp_path, config)


def test_a_configuration_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, PLAIN)
    (tmp_path / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(ArtifactError, match=r"config\.json is damaged"):
        read_header(Artifact("folder", "mlx", tmp_path, 0))


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes({}))
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        read_header(Artifact("folder", "mlx", tmp_path, 0))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<q", -1) + b"{}",
        struct.pack("<Q", 4) + b"[1]]",
        struct.pack("<Q", 50_000) + b'{"a":' * 10_000,
        struct.pack("<Q", 63) + b'{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}       ' + b"\0" * 99,
        struct.pack("<Q", 63) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99]}}        ' + b"\0" * 9,
    ],
)
def test_a_damaged_table_of_contents_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    with pytest.raises(Damaged):
        read_safetensors(FileSource(path))


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_garbage_is_a_table_of_contents_or_damaged(garbage: bytes) -> None:
    class Bytes:
        size = 8 + len(garbage)

        def read(self, start: int, length: int) -> bytes:
            return (struct.pack("<Q", len(garbage)) + garbage)[start : start + length]

    try:
        read_safetensors(Bytes())
    except Damaged as error:
        assert str(error)  # noqa: PT017
