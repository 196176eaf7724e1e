"""What the files of a folder say, and what is refused before anything native sees them. Needs no MNN."""

import json
from pathlib import Path

import pytest

from core.contract.options import LoadOptions
from core.engines.mnn.folder import MnnFolder, read_folder
from core.errors import ArtifactError, LoadFailed, ModelError
from core.models.resolve import resolve_own
from tests.core.engines.mnn.conftest import artifact

HIDDEN = 16
LLM = {
    "model_type": "qwen2",
    "hidden_size": HIDDEN,
    "layer_nums": 3,
    "attention_mask": "float",
    "key_value_shape": [2, 1, 0, 4, 8],
    "jinja": {"chat_template": "{{ messages }}", "eos": "<end>", "bos": "<begin>"},
}


def folder_in(path: Path, llm: object = LLM, **config: object) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    (path / "llm_config.json").write_text(json.dumps(llm))
    (path / "tokenizer.txt").write_text("430 3\n2 1 1\n7 8 8 5\n0 0\n")
    (path / "llm.mnn").write_bytes(b"graph")
    (path / "llm.mnn.weight").write_bytes(bytes(100))
    (path / "embeddings_bf16.bin").write_bytes(bytes(HIDDEN * 2 * 3))
    return path


def refusal(path: Path) -> ModelError:
    with pytest.raises((ArtifactError, LoadFailed)) as caught:
        read_folder(artifact(path)).controls()
    return caught.value


def test_a_folder_of_the_exporter_is_known_as_one(tmp_path: Path) -> None:
    assert resolve_own(str(folder_in(tmp_path))).format == "mnn"


def test_both_configurations_are_read(tmp_path: Path) -> None:
    folder: MnnFolder = read_folder(artifact(folder_in(tmp_path, temperature=0.5, topK=7, penalty=1.25)))
    assert folder.architecture == "qwen2"
    assert folder.kv_elements == 2 * 3 * 4 * 8
    assert folder.weight_bytes == 100 + HIDDEN * 6
    assert folder.choose_templates(LoadOptions()).usual == "{{ messages }}"
    assert (folder.special("eos"), folder.special("bos")) == ("<end>", "<begin>")
    assert (folder.sampling.temperature, folder.sampling.top_k, folder.sampling.repeat_penalty) == (0.5, 7, 1.25)
    assert (folder.trained_context, folder.quantization) == (None, "unknown")
    assert read_folder(artifact(folder_in(tmp_path, sampler_type="greedy", penalty=2))).sampling.greedy


def test_tied_embeddings_tell_the_quantization(tmp_path: Path) -> None:
    folder = read_folder(artifact(folder_in(tmp_path, {**LLM, "tie_embeddings": [40, 80, 20, 4, 64]})))
    assert (folder.quantization, folder.embeddings, folder.weight_bytes) == ("4-bit", None, 100)


def test_control_tokens_stand_at_the_head_of_the_tokenizer(tmp_path: Path) -> None:
    controls = read_folder(artifact(folder_in(tmp_path))).controls()
    assert (controls.special, controls.ends, controls.prefix) == ((7, 8), (8,), (5,))


@pytest.mark.parametrize("name", ["config.json", "llm.mnn", "llm.mnn.weight", "embeddings_bf16.bin"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder_in(tmp_path)
    (tmp_path / name).unlink()
    error = refusal(tmp_path)
    assert isinstance(error, ArtifactError)
    assert f"has no {name}" in str(error)


@pytest.mark.parametrize("name", ["config.json", "llm_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_json_that_is_none_is_named(tmp_path: Path, name: str, content: str) -> None:
    folder_in(tmp_path)
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert name in str(refusal(tmp_path))


@pytest.mark.parametrize(
    "content", ["hello\n", "430 3\n2 x 1\n1 2\n", "430 3\n2 1 0\n1 2\n", "430 3\n1 0 0\n1\n2 1\na\n"]
)
def test_a_tokenizer_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    folder_in(tmp_path)
    (tmp_path / "tokenizer.txt").write_text(content)
    assert "tokenizer.txt cannot be read" in str(refusal(tmp_path))


@pytest.mark.parametrize("content", ["430 3", "430 3\n1 0 0\n1"])
def test_a_tokenizer_that_ends_within_its_head_is_named(tmp_path: Path, content: str) -> None:
    folder_in(tmp_path)
    (tmp_path / "tokenizer.txt").write_text(content)
    assert "download it again" in str(refusal(tmp_path))


def test_of_a_binary_tokenizer_only_the_head_is_read(tmp_path: Path) -> None:
    path = folder_in(tmp_path)
    (path / "tokenizer.mtok").write_bytes(b"430 4\n1 1 0\n3 4\n\xff\xfe\0\n")
    controls = read_folder(artifact(path)).controls()
    assert (controls.special, controls.ends) == ((3,), (4,))


def test_weights_and_embeddings_that_are_cut_short_are_noticed(tmp_path: Path) -> None:
    path = folder_in(tmp_path)
    (path / "embeddings_bf16.bin").write_bytes(bytes(HIDDEN * 2 + 1))
    assert "embeddings_bf16.bin is cut short" in str(refusal(path))
    folder_in(path, {**LLM, "tie_embeddings": [40, 80, 21, 4, 64]})
    assert "llm.mnn.weight is cut short" in str(refusal(path))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"is_visual": True}, "takes or makes images"),
        ({"is_audio": True}, "takes or makes sound"),
        ({"attention_mask": "glm2"}, "the attention mask 'glm2'"),
        ({"hidden_size": None}, "names no hidden_size"),
    ],
)
def test_what_is_not_run_is_refused_by_name(tmp_path: Path, fields: dict[str, object], says: str) -> None:
    assert says in str(refusal(folder_in(tmp_path, {**LLM, **fields})))
