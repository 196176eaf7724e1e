"""Folders for onnxruntime-genai: told from others, refused with a mend without the library, run with it."""

import json
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Available, Unavailable
from core.contract.options import KvType, LoadOptions
from core.engines import installed
from core.engines.onnx.genai import GenaiEngine, GenaiFolder, describe_model
from core.engines.registry import Engines
from core.errors import ArtifactError, Cancelled, EngineUnavailable, LoadFailed
from core.models.formats.detect import detect_folder
from core.requests import Sampling
from tests.fakes.weights import genai_folder

OPTIONS = LoadOptions(ctx_size=256, slots=2, batch=64, threads=1)
needs_library = pytest.mark.skipif(find_spec("onnxruntime_genai") is None, reason="onnxruntime-genai is not installed")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return genai_folder(tmp_path_factory.mktemp("genai"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(written, tmp_path / "guide"))


def artifact(path: Path) -> Artifact:
    return Artifact("guide", "onnx-genai", path, 0)


def edit(folder: Path, section: str, **changes: object) -> None:
    path = folder / "genai_config.json"
    read = json.loads(path.read_text())
    read[section] |= changes
    path.write_text(json.dumps(read))


def test_the_folder_is_told_from_a_decoder_with_other_files(written: Path, folder: Path) -> None:
    assert detect_folder(written) == "onnx-genai"
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert detect_folder(folder) == "onnx"


def test_without_the_library_it_is_refused_with_the_reason_and_the_mend(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    assert GenaiEngine().availability() == Unavailable(
        "The package onnxruntime-genai is not installed.", "uv sync --extra genai"
    )
    with pytest.raises(EngineUnavailable, match="onnxruntime-genai is not installed.*uv sync --extra genai"):
        Engines().choose(artifact(written))


def test_the_library_is_not_loaded_where_it_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None if name == "onnxruntime" else find_spec("json"))
    availability = GenaiEngine().availability()
    assert isinstance(availability, Unavailable)
    assert "onnxruntime, which" in availability.reason
    monkeypatch.setattr(installed, "find_spec", lambda _: find_spec("json"))
    assert isinstance(GenaiEngine().availability(), Available)


def test_the_spec_tells_what_the_folder_says(written: Path) -> None:
    spec = describe_model(GenaiFolder(artifact(written)), OPTIONS, 1)
    assert (spec.architecture, spec.context, spec.slots, spec.sequences) == ("llama", 256, 2, 3)
    assert spec.weight_bytes > 1_000_000
    assert spec.template is not None
    assert any("whole prompt" in note for note in spec.notes)
    assert spec.sampling == Sampling()


def test_a_context_beyond_the_folders_is_cut_with_a_note(written: Path) -> None:
    spec = describe_model(GenaiFolder(artifact(written)), LoadOptions(ctx_size=1_000_000, slots=1), 1)
    assert spec.context == spec.trained_context
    assert any("allows no more" in note for note in spec.notes)


def test_a_kv_type_that_has_no_effect_is_said_so(written: Path) -> None:
    spec = describe_model(GenaiFolder(artifact(written)), LoadOptions(kv_type=KvType.Q8_0), 1)
    assert "The graph chooses the type of its KV cache; --kv-type has no effect on it." in spec.notes


def test_the_makers_sampling_counts_where_they_want_sampling(folder: Path) -> None:
    edit(folder, "search", temperature=0.5, top_k=7, top_p=0.8, repetition_penalty=1.1)
    assert GenaiFolder(artifact(folder)).sampling == Sampling()
    edit(folder, "search", do_sample=True)
    assert GenaiFolder(artifact(folder)).sampling == Sampling(0.5, top_k=7, top_p=0.8, repeat_penalty=1.1)


def test_ends_and_providers_are_read(folder: Path) -> None:
    edit(folder, "model", eos_token_id=[2, 3])
    read = GenaiFolder(artifact(folder))
    assert {2, 3} <= read.ends
    assert read.providers == ()


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"model": {}}', '{"model": {"decoder": 5}}'])
def test_a_damaged_configuration_is_refused_by_name(folder: Path, content: str) -> None:
    (folder / "genai_config.json").write_text(content)
    with pytest.raises(ArtifactError, match="genai_config.json"):
        describe_model(GenaiFolder(artifact(folder)), OPTIONS, 1)


def test_a_count_that_is_missing_is_named(folder: Path) -> None:
    edit(folder, "model", context_length=None)
    with pytest.raises(ArtifactError, match="context_length"):
        describe_model(GenaiFolder(artifact(folder)), OPTIONS, 1)


def test_a_model_of_several_parts_is_refused(folder: Path) -> None:
    edit(folder, "model", vision={})
    with pytest.raises(LoadFailed, match="vision"):
        GenaiFolder(artifact(folder)).refuse_foreign()


@needs_library
def test_accelerators_that_a_folder_names_are_left_idle_where_no_layer_may_lie_there(folder: Path) -> None:
    decoder = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]
    session = decoder.get("session_options", {}) | {"provider_options": [{"cuda": {}}]}
    edit(folder, "model", decoder=decoder | {"session_options": session})
    idle = GenaiEngine().load(artifact(folder), replace(OPTIONS, gpu_layers=0))
    assert "Execution providers: CPU." in idle.spec.notes
    idle.shutdown()
    library = import_module("onnxruntime_genai")
    if not library.is_cuda_available():
        with pytest.raises(LoadFailed, match="onnxruntime-genai will not run guide"):
            GenaiEngine().load(artifact(folder), OPTIONS)


@needs_library
def test_a_folder_is_loaded_and_draws(written: Path) -> None:
    model = GenaiEngine().load(artifact(written), OPTIONS)
    assert model.spec.threads == 1
    model.open(Sampling())
    model.shutdown()


@needs_library
def test_loading_can_be_stopped(written: Path) -> None:
    with pytest.raises(Cancelled):
        GenaiEngine().load(artifact(written), OPTIONS, lambda share: share < 0.5)


@needs_library
def test_a_graph_that_is_damaged_or_gone_is_refused_in_one_sentence(folder: Path) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(LoadFailed, match="onnxruntime-genai will not run guide") as caught:
        GenaiEngine().load(artifact(folder), OPTIONS)
    assert "\n" not in str(caught.value)
    graph.unlink()
    with pytest.raises(LoadFailed):
        GenaiEngine().load(artifact(folder), OPTIONS)


@needs_library
def test_a_graph_with_other_names_is_refused(folder: Path) -> None:
    path = folder / "genai_config.json"
    path.write_text(path.read_text().replace("past_key_values.%d", "past.%d"))
    with pytest.raises(LoadFailed):
        GenaiEngine().load(artifact(folder), OPTIONS)
