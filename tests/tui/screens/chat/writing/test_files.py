"""Which files an `@` in a message may mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.screens.chat.writing import files
from tui.screens.chat.writing.files import FileFinder, find_fragment, write_fragment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("src/deep/code.py", "src/main.py", "Sums.txt", "my notes.md", ".hidden", "node_modules/main.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "evil\x1b[2J").write_text("text")
    (tmp_path / "src" / "up").symlink_to(tmp_path)
    return tmp_path


def _found(folder: Path, fragment: str) -> list[str]:
    return [each.text for each in FileFinder(folder).find(fragment, 6)]


def test_names_that_begin_so_come_first_folders_before_files(folder: Path) -> None:
    assert _found(folder, "s") == ["src/", "Sums.txt", "my notes.md", "src/main.py", "src/deep/code.py"]
    assert _found(folder, "") == ["node_modules/", "src/", "my notes.md", "Sums.txt"]
    assert _found(folder, "src/") == ["src/deep/", "src/up/", "src/main.py", "src/deep/code.py"]
    assert _found(folder, ".h") == [".hidden"]


def test_a_file_is_found_by_a_part_of_its_path(folder: Path) -> None:
    assert _found(folder, "code") == ["src/deep/code.py"]
    assert _found(folder, "deep/co") == ["src/deep/code.py"]
    assert _found(folder, "nowhere") == []


def test_whole_paths_lead_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = FileFinder(Path("/")).find(f"{folder}/src/ma", 6)
    assert (found.text, found.path) == (f"{folder}/src/main.py", folder / "src" / "main.py")
    monkeypatch.setenv("HOME", str(folder))
    assert _found(Path("/"), "~/sum") == ["~/Sums.txt"]
    assert _found(Path("/"), "~nobody-is-called-so/sum") == []


def test_a_large_folder_is_looked_through_so_far_and_no_farther(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_SEEN_PATHS", 4)
    assert _found(folder, "code") == []


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("look at @src/ma", "src/ma"),
        ("@", ""),
        (r"@my\ notes.m", "my notes.m"),
        ("me@example.org", None),
        ("@src/main.py and", None),
    ],
)
def test_a_word_that_begins_with_an_at_sign_means_a_file(line: str, fragment: str | None) -> None:
    assert find_fragment(line) == fragment


def test_a_name_with_blanks_is_read_as_it_was_written() -> None:
    assert find_fragment(write_fragment("my notes/of today.md")) == "my notes/of today.md"
