"""What a config.json says of the KV cache: against what mlx_lm keeps, and for files as they are published."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from core.contract.artifact import Artifact
from core.contract.options import KvType
from core.models.formats.header import Header, Layer
from core.models.formats.hf_config import Config
from core.models.formats.read import read_header
from tests.fakes.configurations import CONFIGURATIONS, Kept, configuration
from tests.fakes.headers import safetensors_bytes

ROOT = Path(__file__).parents[4]
UPPER = "upper bound"


def described(config: Mapping[str, object]) -> tuple[tuple[Layer, ...], list[str]]:
    notes: list[str] = []
    return Config(json.dumps(config).encode()).layers(notes), notes


def bytes_a_token(layers: tuple[Layer, ...]) -> int:
    return 2 * sum(layer.elements for layer in layers)


@pytest.fixture(scope="module")
def kept() -> Mapping[str, list[Kept]]:
    if find_spec("mlx_lm") is None:
        pytest.skip("mlx_lm is not installed")
    command = [sys.executable, "-m", "tests.fakes.configurations"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if "No module named 'mlx" in done.stderr or "libmlx" in done.stderr:
        pytest.skip("mlx cannot be loaded here")
    assert done.returncode == 0, done.stderr[-2000:]
    return msgspec.json.decode(done.stdout, type=dict[str, list[Kept]])


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_layer_keeps_as_much_as_mlx_lm_keeps_of_it(name: str, kept: Mapping[str, list[Kept]]) -> None:
    layers = [layer for layer in Config(configuration(name)).layers([]) if layer.elements]
    assert [layer.elements for layer in layers] == [each.elements for each in kept[name]]
    if any(each.window for each in kept[name]):
        assert [layer.window is not None for layer in layers] == [each.window for each in kept[name]]


GEMMA3_4B = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
GEMMA3_27B = {
    "hidden_size": 5376,
    "num_attention_heads": 32,
    "num_hidden_layers": 62,
    "num_key_value_heads": 16,
    "head_dim": 128,
    "sliding_window": 1024,
}
GEMMA4_31B = {
    "hidden_size": 5376,
    "num_attention_heads": 32,
    "num_key_value_heads": 16,
    "num_global_key_value_heads": 4,
    "num_hidden_layers": 60,
    "head_dim": 256,
    "global_head_dim": 512,
    "attention_k_eq_v": True,
    "sliding_window": 1024,
    "num_kv_shared_layers": 0,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
NEMOTRON = {
    "model_type": "nemotron_h",
    "hidden_size": 4480,
    "num_attention_heads": 40,
    "num_hidden_layers": 56,
    "num_key_value_heads": 8,
    "attention_head_dim": 128,
    "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
}
ZAMBA2 = {
    "model_type": "zamba2",
    "hidden_size": 2560,
    "num_attention_heads": 32,
    "num_hidden_layers": 54,
    "num_key_value_heads": 32,
    "layers_block_type": ["hybrid" if index in (6, 12, 18, 24, 30, 36, 42, 47, 51) else "mamba" for index in range(54)],
}
JAMBA = {
    "model_type": "jamba",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
}
LFM2 = {
    "model_type": "lfm2",
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
}
BAMBA = {
    "model_type": "bamba",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "attn_layer_indices": [9, 18, 27],
    "mamba_d_conv": 4,
}
LLAMA4 = {
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "num_hidden_layers": 48,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "attention_chunk_size": 8192,
    "no_rope_layers": [1, 1, 1, 0] * 12,
}
FALCON = {
    "model_type": "falcon",
    "hidden_size": 4544,
    "num_attention_heads": 71,
    "num_hidden_layers": 32,
    "multi_query": True,
}
PUBLISHED = {
    # What is attended to, what of that only in a window, and bytes a token in float16.
    "gemma-3-4b-it": ({"model_type": "gemma3", "text_config": GEMMA3_4B}, 34, 29, 34 * 4 * 256 * 4),
    "gemma-3-27b-it": ({"model_type": "gemma3", "text_config": GEMMA3_27B}, 62, 52, 62 * 16 * 128 * 4),
    "gemma-4-31b": ({"model_type": "gemma4", "text_config": GEMMA4_31B}, 60, 50, 50 * 16 * 1024 + 10 * 4 * 2048),
    "deepseek-v3": (DEEPSEEK_V3, 61, 0, 61 * 576 * 2),
    "nemotron-h-8b": (NEMOTRON, 4, 0, 4 * 8 * 128 * 4),
    "zamba2-2.7b": (ZAMBA2, 9, 0, 9 * 32 * 160 * 4),
    "jamba-v0.1": (JAMBA, 4, 0, 4 * 8 * 128 * 4),
    "lfm2-350m": (LFM2, 6, 0, 6 * 8 * 64 * 4),
    "bamba-9b": (BAMBA, 3, 0, 3 * 8 * 128 * 4),
    "llama-4-scout": ({"model_type": "llama4", "text_config": LLAMA4}, 48, 36, 48 * 8 * 128 * 4),
    "falcon-7b": (FALCON, 32, 0, 32 * 64 * 4),
}


@pytest.mark.parametrize(("config", "attending", "windowed", "size"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_configurations_are_counted_as_their_family_has_it(
    config: Mapping[str, object], attending: int, windowed: int, size: int
) -> None:
    layers, notes = described(config)
    assert sum(layer.elements > 0 for layer in layers) == attending
    assert sum(layer.window is not None for layer in layers) == windowed
    assert bytes_a_token(layers) == size
    assert not any(UPPER in note for note in notes)
    assert any("without attention" in note for note in notes) == (attending < len(layers))


def test_what_goes_without_saying_of_gemma3_is_told_beside_the_cache() -> None:
    config = Config(json.dumps({"model_type": "gemma3", "text_config": GEMMA3_4B}).encode())
    assert (config.number("max_position_embeddings"), config.number("num_attention_heads")) == (131_072, 8)


HYBRID = {"model_type": "new_hybrid", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 8}


@pytest.mark.parametrize("key", ["mamba_d_state", "ssm_cfg", "conv_L_cache", "layer_group_size"])
def test_a_hybrid_whose_layers_are_not_told_apart_is_counted_whole_and_says_so(key: str) -> None:
    layers, notes = described(HYBRID | {key: 4})
    assert all(layer.elements for layer in layers)
    assert any(UPPER in note for note in notes)


UNTOLD = {"model_type": "new_kind", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100}


def folder(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> Header:
    (path / "config.json").write_text(json.dumps(UNTOLD))
    (path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return read_header(Artifact("folder", "mlx", path, 0))


def test_heads_that_are_not_told_are_read_off_the_projections(tmp_path: Path) -> None:
    tensors: dict[str, tuple[str, tuple[int, ...], int]] = {
        "model.layers.0.self_attn.k_proj.weight": ("U32", (32, 8), 1024),
        "model.layers.0.self_attn.v_proj.weight": ("U32", (48, 8), 1536),
        "model.layers.1.self_attn.k_proj.weight": ("U32", (32, 8), 1024),
        "vision_tower.layers.1.self_attn.k_proj.weight": ("F16", (999, 1), 1998),
    }
    header = folder(tmp_path, tensors)
    assert [layer.elements for layer in header.layers] == [32 + 48, 32 + 32]
    assert header.kv_bytes_per_token(KvType.F16) == 2 * 144
    assert header.notes == ()


def test_heads_that_nothing_tells_are_never_passed_over_in_silence(tmp_path: Path) -> None:
    header = folder(tmp_path, {"model.layers.0.mix.weight": ("F16", (4, 4), 32)})
    assert header.kv_bytes_per_token(KvType.F16) == 0
    assert any("2 layers are; the KV cache is larger" in note for note in header.notes)
