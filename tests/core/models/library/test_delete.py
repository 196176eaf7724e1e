"""Deleting models: what goes, what stays, and what is refused."""

from pathlib import Path

import pytest

from core.errors import DownloadError, ModelNotFound, UsageError
from core.guide import WEIGHTS
from core.models.library.delete import delete_model, find_entry
from core.models.library.scan import Library, LibraryEntry
from tests.fakes.hubcache import OTHER, begun, cached

GGUF = WEIGHTS.read_bytes()
SHARED = {"config.json": b"{}", "tokenizer.json": b"[]"}


def entry_of(library: Library, name: str) -> LibraryEntry:
    return find_entry(name, library.scan(), library.cache)


def names(library: Library) -> set[str]:
    return {entry.name for entry in library.scan()} - {"guide", "echo"}


def test_one_quant_goes_and_the_other_stays(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF, "m-Q8_0.gguf": GGUF + b"8", "README.md": b"r"})
    library = Library(cache=tmp_path)
    assert delete_model(library, entry_of(library, "o/r:Q8_0")) == len(GGUF) + 1
    assert names(library) == {"o/r:Q4_K_M"}
    assert len(list((snapshot.parents[1] / "blobs").iterdir())) == 2
    assert delete_model(library, entry_of(library, "o/r")) == len(GGUF) + 1
    assert not (tmp_path / "models--o--r").exists()


def test_contents_that_another_commit_uses_stay(tmp_path: Path) -> None:
    cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF}, OTHER)
    cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF, "m-Q8_0.gguf": GGUF + b"8"})
    library = Library(cache=tmp_path)
    assert delete_model(library, entry_of(library, "o/r:Q4_K_M")) == 0
    assert entry_of(library, "o/r:Q4_K_M").path.is_file()
    assert delete_model(library, entry_of(library, "o/r:Q4_K_M")) == 0 or names(library) == {"o/r:Q8_0"}


def test_files_that_two_graphs_share_stay_until_the_last_goes(tmp_path: Path) -> None:
    files = {**SHARED, "onnx/model.onnx": b"1" * 10, "onnx/model_q4.onnx": b"2" * 20}
    snapshot = cached(tmp_path / "cache", "o/r", files)
    folder = tmp_path / "folder" / "model"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for library, location in (
        (Library(cache=tmp_path / "cache"), snapshot),
        (Library(folders=[folder.parent]), folder),
    ):
        first = next(entry for entry in library.scan() if entry.path.name == "model_q4.onnx")
        assert delete_model(library, first) == 20
        assert (location / "config.json").exists()
        (last,) = [entry for entry in library.scan() if entry.name not in ("guide", "echo")]
        assert delete_model(library, last) == 14
        assert not location.exists()
    assert folder.parent.is_dir()


def test_a_partial_download_can_be_deleted(tmp_path: Path) -> None:
    begun(tmp_path, "o/partial", b"x" * 30, "abc")
    library = Library(cache=tmp_path)
    assert delete_model(library, entry_of(library, "o/partial")) == 30
    assert names(library) == set()
    assert not (tmp_path / "models--o--partial").exists()


@pytest.mark.parametrize("gone", ["b-Q8_0.gguf", "params"])
def test_a_link_that_leads_nowhere_costs_no_other_model_its_files(tmp_path: Path, gone: str) -> None:
    files = {"a-Q4_K_M.gguf": GGUF, "b-Q8_0.gguf": GGUF + b"b", "c-Q6_K.gguf": GGUF + b"c", "params": b"{}"}
    snapshot = cached(tmp_path, "o/wreck", files)
    (snapshot / gone).resolve().unlink()
    library = Library(cache=tmp_path)
    before = names(library)
    assert delete_model(library, entry_of(library, "o/wreck:Q4_K_M")) == len(GGUF)
    assert names(library) == before - {"o/wreck:Q4_K_M"}
    assert delete_model(library, entry_of(library, f"o/wreck/{gone}")) == 0
    assert entry_of(library, "o/wreck:Q6_K").path.is_file()
    for name in names(library):
        delete_model(library, entry_of(library, name))
    assert not (tmp_path / "models--o--wreck").exists()


def test_the_same_commit_of_a_renamed_repository_stays(tmp_path: Path) -> None:
    snapshots = [cached(tmp_path, repo, {"m-Q4_K_M.gguf": GGUF}) for repo in ("new/model", "old/model")]
    library = Library(cache=tmp_path)
    for repo, location in zip(("old/model", "new/model"), reversed(snapshots), strict=True):
        assert delete_model(library, entry_of(library, f"{repo}:Q4_K_M")) == len(GGUF)
        assert not location.exists()
        assert names(library) == ({"new/model:Q4_K_M"} if repo == "old/model" else set())


@pytest.mark.parametrize("left", ["mmproj-F16.gguf", "m-Q8_0-00001-of-00002.gguf"])
def test_what_may_still_be_wanted_of_a_commit_stays_when_its_last_model_goes(tmp_path: Path, left: str) -> None:
    snapshot = cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF, left: GGUF + b"left", "README.md": b"r"})
    library = Library(cache=tmp_path)
    assert delete_model(library, entry_of(library, "o/r:Q4_K_M")) == len(GGUF)
    assert (snapshot / left).stat().st_size == len(GGUF) + 4
    assert not (snapshot / "m-Q4_K_M.gguf").exists()


def test_a_partial_download_stays_when_the_last_model_goes(tmp_path: Path) -> None:
    cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF})
    partial = begun(tmp_path, "o/r", b"x" * 30, "abc")
    library = Library(cache=tmp_path)
    assert delete_model(library, entry_of(library, "o/r:Q4_K_M")) == len(GGUF)
    assert partial.stat().st_size == 30
    assert names(library) == {"o/r"}


def test_what_another_program_fetches_is_not_deleted(tmp_path: Path) -> None:
    from filelock import FileLock

    partial = begun(tmp_path, "o/r", b"x" * 30, "abc")
    lock = tmp_path / ".locks" / "models--o--r" / "abc.lock"
    lock.parent.mkdir(parents=True)
    library = Library(cache=tmp_path)
    with FileLock(lock), pytest.raises(DownloadError, match=r"A file of o/r is being downloaded; pause"):
        delete_model(library, entry_of(library, "o/r"))
    assert partial.exists()
    assert delete_model(library, entry_of(library, "o/r")) == 30


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    path = here / "mine.gguf"
    path.write_bytes(GGUF)
    library = Library(here=[here], folders=[tmp_path / "models"], cache=tmp_path / "cache")
    for name in ("guide", "echo", str(path)):
        with pytest.raises(UsageError, match="so it is not deleted here"):
            delete_model(library, entry_of(library, name))
    assert path.exists()
    assert WEIGHTS.exists()


def test_an_entry_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / "precious.gguf"
    target.write_bytes(GGUF)
    models = tmp_path / "models"
    models.mkdir()
    (models / "link.gguf").symlink_to(target)
    library = Library(folders=[models])
    entry = entry_of(library, str(models / "link.gguf"))
    assert delete_model(library, entry) == 0
    assert target.exists()
    assert not (models / "link.gguf").exists()
    forged = LibraryEntry(entry.name, target, entry.format, 1, False, location=entry.location, files=(target,))
    with pytest.raises(UsageError):
        delete_model(library, forged)
    (models / "loop").symlink_to(outside)
    forged = LibraryEntry(
        "x", models / "loop", None, 1, False, location=entry.location, files=(models / "loop" / target.name,)
    )
    with pytest.raises(UsageError):
        delete_model(library, forged)
    assert target.exists()


def test_a_name_must_stand_for_one_model(tmp_path: Path) -> None:
    cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF, "m-Q8_0.gguf": GGUF + b"8"})
    cached(tmp_path, "unsloth/gemma-3-1b-it-GGUF", {"gemma-3-1b-it-Q4_K_M.gguf": GGUF})
    library = Library(cache=tmp_path)
    with pytest.raises(UsageError, match="several models here; name one of o/r:Q4_K_M, o/r:Q8_0"):
        entry_of(library, "o/r")
    assert entry_of(library, "o/r/m-Q8_0.gguf").name == "o/r:Q8_0"
    assert entry_of(library, "gemma-1b").name == "unsloth/gemma-3-1b-it-GGUF:Q4_K_M"
    for name in ("o/none", "o/r:Q2_K", "gemma-4b", "nothing"):
        with pytest.raises(ModelNotFound):
            entry_of(library, name)
