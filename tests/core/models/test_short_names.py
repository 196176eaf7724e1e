"""What a model in a folder is called on the screen can be typed: alone, after all other names, never by a guess."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from core.contract.options import LoadOptions
from core.engines.registry import Engines
from core.errors import ArtifactError, ModelNotFound, NotDownloaded, UsageError
from core.guide import WEIGHTS
from core.models.library.delete import find_entry
from core.models.library.scan import Library
from core.models.resolve import read_own, resolve_own
from core.models.store import Store
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, LibrarySettings, Settings
from core.workbench import Workbench
from tests.fakes.hubcache import cached
from tests.fakes.support import asks, folders_in
from tests.fakes.weights import mlx_folder, quantized, truncated


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with an empty cache of the Hub."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "deeper").mkdir(parents=True)
    return folder


def store(tmp_path: Path, *folders: Path) -> Store:
    settings = Settings(library=LibrarySettings(folders=tuple(map(str, folders))))
    return Store(settings, folders_in(tmp_path), Engines(), LoadOptions())


def test_the_name_that_the_library_shows_is_the_one_it_is_loaded_under(tmp_path: Path, models: Path) -> None:
    shutil.copy(WEIGHTS, models / "deeper" / "mine-v1.5.gguf")
    for number in (1, 2):
        shutil.copy(WEIGHTS, models / f"parts-{number:05}-of-00002.gguf")
    weights = mlx_folder(models).rename(models / "folder-v2.5")
    shelf = Library(folders=[models])
    assert {entry.short for entry in shelf.scan()} == {"guide", "echo", "mine-v1.5", "parts", "folder-v2.5"}
    paths = {
        "mine-v1.5": models / "deeper" / "mine-v1.5.gguf",
        "parts": models / "parts-00001-of-00002.gguf",
        "folder-v2.5": weights,
    }
    assert shelf.names() == {name: (path,) for name, path in paths.items()}
    for name, path in paths.items():
        artifact = store(tmp_path, models).resolve(read_own(name))
        assert (artifact.name, artifact.path) == (name, path)


def test_names_that_are_known_otherwise_look_into_no_folder(tmp_path: Path) -> None:
    def looking() -> Mapping[str, Sequence[Path]]:
        raise AssertionError

    cached(tmp_path / "hub", "o/r", {"m-Q4_K_M.gguf": WEIGHTS.read_bytes()})
    for name in ("guide", "echo", "o/r", str(WEIGHTS), "http://127.0.0.1:1"):
        resolve_own(name, shelf=looking)
    for name in ("qwen3-4b", "o/other"):
        with pytest.raises(NotDownloaded):
            resolve_own(name, shelf=looking)


def test_built_in_names_and_aliases_go_before_files_that_are_called_so(tmp_path: Path, models: Path) -> None:
    for name in ("guide", "qwen3-4b"):
        (models / f"{name}.gguf").write_bytes(WEIGHTS.read_bytes())
    assert store(tmp_path, models).resolve(read_own("guide")).path == WEIGHTS
    with pytest.raises(NotDownloaded):
        store(tmp_path, models).resolve(read_own("qwen3-4b"))


def test_a_name_that_two_models_have_is_refused_with_both_paths(tmp_path: Path, models: Path) -> None:
    two = models / "twice.gguf", models / "deeper" / "twice.gguf"
    for path in two:
        shutil.copy(WEIGHTS, path)
    with pytest.raises(UsageError, match="twice is what 2 models here are called") as refused:
        store(tmp_path, models).resolve(read_own("twice"))
    assert all(str(path) in str(refused.value) for path in two)
    assert set(refused.value.paths) == set(two)
    with pytest.raises(UsageError, match="name one of"):
        find_entry("twice", Library(folders=[models]).scan())


def test_one_file_that_is_met_twice_is_one_model(tmp_path: Path, models: Path) -> None:
    shutil.copy(WEIGHTS, models / "deeper" / "once.gguf")
    assert store(tmp_path, models, models / "deeper").resolve(read_own("once")).path == models / "deeper" / "once.gguf"


def test_a_damaged_model_is_told_as_such_and_a_misspelled_name_suggests_the_right_one(
    tmp_path: Path, models: Path
) -> None:
    truncated(models)
    (models / "garbage.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match=r"garbage.gguf is not a model that can be loaded"):
        store(tmp_path, models).resolve(read_own("garbage"))
    with pytest.raises(ModelNotFound, match="Did you mean truncated"):
        store(tmp_path, models).resolve(read_own("truncatd"))


def test_what_is_deleted_may_be_named_as_it_is_shown(models: Path) -> None:
    shutil.copy(WEIGHTS, models / "mine.gguf")
    assert find_entry("mine", Library(folders=[models]).scan()).path == models / "mine.gguf"


async def test_a_model_is_loaded_and_drafts_by_that_name_and_a_request_may_name_it(
    tmp_path: Path, models: Path
) -> None:
    quantized(WEIGHTS, models)
    settings = Settings(
        library=LibrarySettings(folders=(str(models),)),
        models={"large": Profile(source="guide", draft="guide-q8_0")},
        model=ModelSettings(engine="llamacpp", ctx_size=256, slots=1, threads=1),
        bench=BenchSettings(enabled=False),
    )
    workbench = Workbench(settings, folders_in(tmp_path))
    try:
        await workbench.models.load("large")
        (model,) = workbench.snapshot().models
        assert model.draft is not None
        assert model.draft.by == "guide-q8_0"
        await (await workbench.requests.submit(asks("What is a KV cache?", "guide-q8_0", max_tokens=4))).reply()
        assert workbench.models.loaded_names() == ("large", "guide-q8_0")
    finally:
        await workbench.close()
