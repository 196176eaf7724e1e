"""Names and files: what stands for a model, and what is said of what does not."""

from pathlib import Path

import pytest

from core.contract.artifact import SCRIPT
from core.errors import ArtifactError, ModelNotFound
from core.guide import WEIGHTS
from core.models.formats.detect import fingerprint_model
from core.models.library.scan import Library
from core.models.resolve import resolve_own


def test_the_built_in_models_have_names() -> None:
    assert resolve_own("guide").path == WEIGHTS
    assert resolve_own("echo").format == SCRIPT


def test_a_path_stands_for_the_file_and_is_named_by_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.symlink_to(WEIGHTS)
    artifact = resolve_own(str(path))
    assert artifact.name == "my model"
    assert artifact.size == WEIGHTS.stat().st_size


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ModelNotFound, match="Did you mean guide"):
        resolve_own("giude")
    with pytest.raises(ModelNotFound, match="'llama'"):
        resolve_own("llama")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 a zip file, not weights", "does not begin as a GGUF file"),
        (b"GGUF\x03\0\0\0", "ends within its header"),
        (b"GGUF\x63\0\0\0" + b"\0" * 16, "GGUF version 99 is unknown"),
    ],
    ids=["empty", "other format", "cut off", "future version"],
)
def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=says):
        resolve_own(str(path))
    (entry,) = [entry for entry in Library(here=[tmp_path]).scan(set()) if entry.path == path]
    assert entry.problem is not None
    assert says in entry.problem
    assert entry.format is None


def test_a_missing_file_a_folder_and_a_name_with_nul_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no file"):
        resolve_own(str(tmp_path / "none.gguf"))
    with pytest.raises(ArtifactError, match="the folder holds neither"):
        resolve_own(str(tmp_path))
    with pytest.raises((ArtifactError, ModelNotFound)):
        resolve_own("a\0b.gguf")


def test_the_library_lists_built_in_models_and_files_once(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(WEIGHTS.read_bytes())
    entries = Library(here=[tmp_path, WEIGHTS.parent, tmp_path / "missing"]).scan({WEIGHTS})
    assert [entry.name for entry in entries] == ["guide", "echo", str(tmp_path / "a.gguf")]
    assert [entry.loaded for entry in entries] == [True, False, False]


def test_a_fingerprint_changes_with_either_end_and_the_size(tmp_path: Path) -> None:
    contents = [b"a" * 3_000_000, b"b" + b"a" * 2_999_999, b"a" * 2_999_999 + b"b", b"a" * 3_000_001]
    seen = set()
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        path.write_bytes(content)
        seen.add(fingerprint_model(path))
    assert len(seen) == len(contents)
