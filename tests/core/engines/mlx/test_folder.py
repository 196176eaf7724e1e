"""What the JSON files say, and what is said of them when they are wrong."""

import json
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.engines.mlx.folder import MlxFolder, read_folder
from core.errors import ArtifactError


def folder(path: Path, **files: object) -> MlxFolder:
    for name, content in ({"config": {}} | files).items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return read_folder(Artifact("m", "mlx", path, 1))


def test_ends_are_gathered_from_every_file_as_numbers_or_lists(tmp_path: Path) -> None:
    found = folder(tmp_path, config={"eos_token_id": 1}, generation_config={"eos_token_id": [2, 3]})
    assert found.ends == {1, 2, 3}


def test_the_context_may_be_that_of_the_text_part(tmp_path: Path) -> None:
    assert folder(tmp_path, config={"text_config": {"max_position_embeddings": 99}}).trained_context == 99
    assert folder(tmp_path).trained_context is None


def test_recommended_sampling_goes_over_the_defaults(tmp_path: Path) -> None:
    sampling = folder(
        tmp_path, generation_config={"temperature": 1, "top_k": 20, "repetition_penalty": 1.05}
    ).sampling()
    assert (sampling.temperature, sampling.top_k, sampling.repeat_penalty, sampling.top_p) == (1.0, 20, 1.05, 0.95)


def test_a_template_file_goes_before_the_configuration_and_all_are_known_by_their_names(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    assert folder(tmp_path, tokenizer_config={"chat_template": several}).templates == {"tool_use": "T", "default": "D"}
    (tmp_path / "chat_template.jinja").write_text("J")
    assert folder(tmp_path).templates["default"] == "J"


def test_quantization_is_named_as_people_name_it(tmp_path: Path) -> None:
    assert folder(tmp_path, config={"quantization": {"bits": 4, "group_size": 64}}).quantization == "4-bit"
    assert folder(tmp_path, config={"quantization": {"mode": "mxfp4", "bits": 4}}).quantization == "MXFP4"
    assert folder(tmp_path, config={"torch_dtype": "bfloat16"}).quantization == "BF16"


@pytest.mark.parametrize("content", [None, "", "[]", "{"], ids=["missing", "empty", "list", "cut off"])
def test_a_config_that_is_none_is_an_artifact_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ArtifactError, match="config.json"):
        read_folder(Artifact("m", "mlx", tmp_path, 1))
