"""Whose states are a model's own: nothing that changes what is computed leaves the identity as it was."""

import os
from pathlib import Path

import pytest

from core.cache.identity import ModelIdentity
from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.engines.echo import EchoModel
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.onnx.genai import GenaiEngine
from core.serving.pool.loader import identify_model


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    for path in found:
        path.write_bytes(bytes(5_000_000))
    return found


def identify(path: Path, options: LoadOptions = LoadOptions()) -> ModelIdentity | None:
    artifact = Artifact("m", "gguf", path, path.stat().st_size)
    return identify_model(LlamaCppEngine(), artifact, options, EchoModel(LoadOptions(ctx_size=options.ctx_size)))


def test_a_change_in_the_middle_of_any_part_makes_another_model(files: tuple[Path, Path]) -> None:
    before = identify(files[0])
    assert before is not None
    assert identify(files[0]) == before
    for path in files:
        data = bytearray(path.read_bytes())
        data[2_500_000] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(1, 1_000 + len(data)))
        after = identify(files[0])
        assert after != before
        before = after


def test_settings_of_the_kv_cache_and_adapters_make_another_model(files: tuple[Path, Path], tmp_path: Path) -> None:
    lora = tmp_path / "lora.gguf"
    lora.write_bytes(b"adapter")
    wishes = (
        LoadOptions(),
        LoadOptions(ctx_size=512),
        LoadOptions(kv_type=KvType.Q8_0),
        LoadOptions(kv_type=KvType.Q8_0_Q4_0),
        LoadOptions(flash_attention=False),
        LoadOptions(swa_full=False),
        LoadOptions(loras=(str(lora),)),
    )
    assert len({identify(files[0], each) for each in wishes}) == len(wishes)
    assert identify(files[0], LoadOptions(threads=3, slots=2)) == identify(files[0])


def test_a_model_whose_files_are_gone_or_whose_engine_keeps_no_states_has_none(files: tuple[Path, Path]) -> None:
    artifact = Artifact("m", "onnx-genai", files[0], 1)
    assert identify_model(GenaiEngine(), artifact, LoadOptions(), EchoModel()) is None
    files[1].unlink()
    assert identify(files[0]) is None
