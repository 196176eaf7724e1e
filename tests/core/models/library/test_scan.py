"""What is on this machine: the Hub's cache, folders, this folder; and what is wrong with it."""

import os
import shutil
from pathlib import Path

import pytest

from core.guide import WEIGHTS
from core.models.library.scan import Library, LibraryEntry, Location
from tests.fakes.hubcache import OTHER, begun, cached
from tests.fakes.speech import write_whisper
from tests.fakes.weights import mlx_folder

GGUF = WEIGHTS.read_bytes()


def of(library: Library) -> dict[str, LibraryEntry]:
    """What is there besides the built-in models, by name."""
    return {entry.name: entry for entry in library.scan() if entry.location is not Location.BUILT_IN}


def test_the_cache_is_listed_model_by_model(tmp_path: Path) -> None:
    cached(tmp_path, "o/gguf", {"m-Q4_K_M.gguf": GGUF, "m-Q8_0.gguf": GGUF + b"8", "mmproj-F16.gguf": GGUF + b"p"})
    files = {path.name: path.read_bytes() for path in mlx_folder(tmp_path).iterdir() if path.is_file()}
    cached(tmp_path, "o/weights-4bit", files)
    cached(tmp_path, "o/big", {f"m-Q8_0-{n:05}-of-00002.gguf": GGUF + bytes([n]) for n in (1, 2)})
    found = of(Library(cache=tmp_path, takers={"gguf": ("llamacpp",)}))
    assert {"o/gguf:Q4_K_M", "o/gguf:Q8_0", "o/big:Q8_0"} < found.keys()
    assert len(found) == 4
    entry = found["o/gguf:Q4_K_M"]
    assert (entry.format, entry.size, entry.location) == ("gguf", len(GGUF), Location.HUB)
    assert entry.engines == ("llamacpp",)
    assert entry.used is not None
    assert found["o/big:Q8_0"].size == 2 * len(GGUF) + 2
    assert "mlx" in {entry.format for entry in found.values()}


def test_the_same_model_of_an_older_commit_is_listed_with_its_commit(tmp_path: Path) -> None:
    cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF + b"old"}, OTHER)
    cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF})
    assert set(of(Library(cache=tmp_path))) == {"o/r:Q4_K_M", f"o/r@{OTHER}:Q4_K_M"}


DAMAGE = [
    (GGUF[: len(GGUF) // 2], "it ends before its weights do"),
    (b"", "it is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n", "Git LFS pointer"),
    (b"GGUF" + b"\xff" * 100, "GGUF version"),
]


@pytest.mark.parametrize(("content", "says"), DAMAGE, ids=["truncated", "empty", "pointer", "nonsense"])
def test_damaged_files_are_listed_with_the_reason_wherever_they_are(tmp_path: Path, content: bytes, says: str) -> None:
    cached(tmp_path / "cache", "o/r", {"m-Q4_K_M.gguf": content})
    for folder in ("below/deeper", "here"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "m.gguf").write_bytes(content)
    library = Library(here=[tmp_path / "here"], folders=[tmp_path / "below"], cache=tmp_path / "cache")
    found = of(library)
    assert len(found) == 3
    for entry in found.values():
        assert entry.format is None
        assert entry.problem is not None
        assert says in entry.problem


def test_missing_parts_and_deleted_contents_are_damage(tmp_path: Path) -> None:
    cached(tmp_path, "o/split", {"m-Q8_0-00002-of-00003.gguf": GGUF})
    snapshot = cached(tmp_path, "o/gone", {"m-Q4_K_M.gguf": GGUF + b"x"})
    (snapshot / "m-Q4_K_M.gguf").resolve().unlink()
    found = of(Library(cache=tmp_path))
    problem = found["o/split/m-Q8_0-00001-of-00003.gguf"].problem or ""
    assert "m-Q8_0-00001-of-00003.gguf and 1 more of 3 parts" in problem
    assert "content was deleted" in (found["o/gone/m-Q4_K_M.gguf"].problem or "")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "m-00001-of-00002.gguf").write_bytes(GGUF)
    for library in (Library(here=[folder]), Library(folders=[folder])):
        (entry,) = of(library).values()
        assert "m-00002-of-00002.gguf of 2 parts is missing" in (entry.problem or "")


def test_a_broken_off_download_is_partial_with_its_share_where_that_is_known(tmp_path: Path) -> None:
    begun(tmp_path, "o/r", b"x" * 30, "abc")
    (entry,) = of(Library(cache=tmp_path)).values()
    assert (entry.size, entry.share) == (30, None)
    assert entry.problem == "partial: the download is not finished"
    entry = next(entry for entry in Library(cache=tmp_path).scan(sizes={"abc": 120}) if entry.location is Location.HUB)
    assert entry.share == 0.25
    assert "(25%)" in (entry.problem or "")


def test_a_download_that_is_finished_while_the_cache_is_listed_is_passed_over(tmp_path: Path) -> None:
    begun(tmp_path, "o/r", b"x" * 30, "abc")
    # Seen by name, and gone by the time it is asked for its size.
    for name in ("o/r", "o/other"):
        blobs = tmp_path / f"models--{name.replace('/', '--')}" / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        (blobs / "def.incomplete").symlink_to(tmp_path / "gone")
    (entry,) = of(Library(cache=tmp_path)).values()
    assert (entry.name, entry.size, len(entry.files)) == ("o/r", 30, 1)


def test_folders_are_searched_with_all_below_them(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "a" / "b").mkdir(parents=True)
    shutil.copy(WEIGHTS, models / "a" / "b" / "deep.gguf")
    write_whisper(models / "ggml-own.bin")
    weights = mlx_folder(models)
    (models / "notes.txt").write_text("nothing")
    found = of(Library(folders=[models, tmp_path / "missing"]))
    assert {entry.path for entry in found.values()} == {
        models / "a" / "b" / "deep.gguf",
        models / "ggml-own.bin",
        weights,
    }
    assert {entry.location for entry in found.values()} == {Location.FOLDER}
    assert all(entry.problem is None for entry in found.values())


def test_truncated_safetensors_are_damaged(tmp_path: Path) -> None:
    weights = mlx_folder(tmp_path)
    path = weights / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    (entry,) = of(Library(folders=[tmp_path])).values()
    assert entry.problem == "damaged: it ends before its weights do"


def test_what_nothing_runs_is_listed_when_it_takes_room(tmp_path: Path) -> None:
    cached(tmp_path, "o/large", {"pytorch_model.bin": b"x" * 2_000_000})
    cached(tmp_path, "o/small", {"tokenizer.json": b"{}"})
    (entry,) = of(Library(cache=tmp_path)).values()
    assert (entry.name, entry.format) == ("o/large", None)


def test_unchanged_files_are_not_opened_again(tmp_path: Path) -> None:
    folder, memory = tmp_path / "models", tmp_path / "seen"
    folder.mkdir()
    path = folder / "a.gguf"
    path.write_bytes(GGUF)
    library = Library(folders=[folder], memory=memory)
    assert of(library)[str(path)].problem is None
    before = path.stat()
    path.write_bytes(b"x" * len(GGUF))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert of(library)[str(path)].problem is None
    assert of(Library(folders=[folder]))[str(path)].problem is not None


def test_a_changed_file_is_looked_into_again_and_a_damaged_memory_is_a_miss(tmp_path: Path) -> None:
    folder, memory = tmp_path / "models", tmp_path / "seen"
    folder.mkdir()
    path = folder / "a.gguf"
    path.write_bytes(GGUF)
    library = Library(folders=[folder], memory=memory)
    assert of(library)[str(path)].problem is None
    path.write_bytes(GGUF[:1000])
    assert of(library)[str(path)].problem is not None
    memory.write_bytes(b"nonsense")
    assert of(library)[str(path)].problem is not None


def test_loaded_models_are_marked(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF})
    (entry,) = [entry for entry in Library(cache=tmp_path).scan({snapshot / "m-Q4_K_M.gguf"}) if entry.loaded]
    assert entry.name == "o/r:Q4_K_M"
