"""What files tell of their model, read once and anew when they have changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from core.contract.artifact import SCRIPT, Artifact
from core.guide import WEIGHTS
from core.models.library.file_facts import FactShelf


def test_a_file_is_read_once_and_anew_when_it_was_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    shutil.copy(WEIGHTS, path)
    shelf, artifact = FactShelf(), Artifact("a", "gguf", path, path.stat().st_size)
    first = shelf.examine(artifact)
    assert first.header is not None
    assert first.template
    assert len(first.digest) == 64
    assert shelf.examine(artifact) is first
    os.utime(path, (1, 1))
    again = shelf.examine(artifact)
    assert again.digest != first.digest
    assert again.modified == 1


def test_a_file_of_the_hubs_cache_goes_by_its_own_checksum(tmp_path: Path) -> None:
    blob = tmp_path / ("ab" * 32)
    shutil.copy(WEIGHTS, blob)
    link = tmp_path / "a.gguf"
    link.symlink_to(blob)
    assert FactShelf().examine(Artifact("a", "gguf", link, 1)).digest == "ab" * 32


def test_what_is_gone_damaged_or_no_file_has_a_digest_all_the_same(tmp_path: Path) -> None:
    shelf = FactShelf()
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and no more")
    told = [
        shelf.examine(Artifact("a", "gguf", tmp_path / "bad.gguf", 16)),
        shelf.examine(Artifact("b", "gguf", tmp_path / "gone.gguf", 16)),
        shelf.examine(Artifact("echo", SCRIPT, Path("echo"), 0)),
    ]
    assert len({each.digest for each in told}) == 3
    assert all(each.header is None and each.template is None for each in told)
