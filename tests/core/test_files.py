"""Files as users name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.files import expand_home, has_file, write_new


def test_a_new_file_is_written_whole_or_not_at_all_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "new.md"
    with pytest.raises(UnicodeEncodeError):
        write_new(path, "half a sign: \ud800")
    assert not path.exists()
    write_new(path, "mine")
    with pytest.raises(FileExistsError):
        write_new(path, "yours")
    assert path.read_text() == "mine"


def test_what_no_file_can_be_called_is_no_file_and_a_user_that_is_not_there_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [has_file(path) for path in (tmp_path / "file", tmp_path, tmp_path / ("long" * 200))] == [True, False, False]
    assert expand_home("~nobody-is-called-so/file") == Path("~nobody-is-called-so/file")
    assert expand_home("~/file") == Path.home() / "file"
