"""What a header says of the KV cache against what llama.cpp sets aside for it, architecture by architecture."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from core.contract.artifact import Artifact
from core.contract.options import KvType
from core.models.fit.parts import compute_bytes
from core.models.fit.sizing import ROLLBACK_TOKENS
from core.models.formats.header import Header
from core.models.formats.read import read_header
from tests.fakes.architectures import BATCH, CELLS, FAMILIES, FORESEEING, SEQUENCES, Reserved, write

ROOT = Path(__file__).parents[4]
MEBI = 1 << 20
ROUNDED = 0.006
"""MiB; the log tells two places."""


def header_of(path: Path) -> Header:
    return read_header(Artifact(path.stem, "gguf", path, 0))


def set_aside(path: Path, *words: str) -> Reserved:
    command = [sys.executable, "-m", "tests.fakes.architectures", str(path), *words]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return msgspec.json.decode(done.stdout, type=Reserved)


@pytest.fixture(scope="module", params=FAMILIES)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Header, Reserved]:
    path = write(request.param, tmp_path_factory.mktemp("family"))
    return header_of(path), set_aside(path)


def test_the_kv_cache_is_as_large_as_llama_cpp_makes_it(told: tuple[Header, Reserved]) -> None:
    header, reserved = told
    assert header.kv_bytes(CELLS, KvType.F16) / MEBI == pytest.approx(reserved.kv, abs=ROUNDED)


def test_recurrent_states_are_as_large_as_llama_cpp_makes_them(told: tuple[Header, Reserved]) -> None:
    header, reserved = told
    assert header.state_bytes(SEQUENCES) / MEBI == pytest.approx(reserved.state, abs=ROUNDED)


def test_the_compute_buffer_is_estimated_within_a_tenth(told: tuple[Header, Reserved]) -> None:
    header, reserved = told
    if header.recurrent:
        pytest.skip("what recurrent layers compute with is not counted, as the header's notes say")
    estimated = compute_bytes(header, CELLS, BATCH, SEQUENCES) / MEBI
    assert estimated == pytest.approx(reserved.compute, rel=0.1)


@pytest.mark.parametrize("family", FORESEEING)
def test_heads_that_guess_ahead_keep_keys_and_values_of_their_own(family: str, tmp_path: Path) -> None:
    path = write(family, tmp_path)
    header, reserved = header_of(path), set_aside(path, "ahead")
    assert header.kv_bytes(CELLS, KvType.F16, mtp=True) / MEBI == pytest.approx(reserved.kv, abs=2 * ROUNDED)
    kept = (1 + ROLLBACK_TOKENS) * header.state_bytes(SEQUENCES)
    assert kept / MEBI == pytest.approx(reserved.state, abs=ROUNDED)


def test_five_of_six_layers_of_gemma3_look_back_a_window(tmp_path: Path) -> None:
    header = header_of(write("gemma3", tmp_path))
    assert [layer.window for layer in header.layers] == [512, 512, 512, 512, 512, None] * 2


def test_a_cache_that_keeps_windows_only_is_smaller(tmp_path: Path) -> None:
    header = header_of(write("gemma3", tmp_path))
    layer = header.layers[0].elements * 2
    windowed = header.kv_bytes(CELLS, KvType.F16, windowed=True, ahead=BATCH)
    assert windowed == 2 * CELLS * layer + 10 * (512 + BATCH) * layer


def test_latent_attention_keeps_no_values(tmp_path: Path) -> None:
    header = header_of(write("deepseek2", tmp_path))
    assert {(layer.kv_heads, layer.key_length, layer.value_length) for layer in header.layers} == {(1, 80, 0)}


def test_layers_that_keep_a_state_keep_no_keys(tmp_path: Path) -> None:
    header = header_of(write("granitehybrid", tmp_path))
    assert [layer.elements > 0 for layer in header.layers] == [False, False, True, False]
    assert [layer.state_bytes > 0 for layer in header.layers] == [True, True, False, True]
    assert any("too little" in note for note in header.notes)
