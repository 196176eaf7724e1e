"""State that may be lost is lost without a word too many, and is never in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct

from core.files import append_line
from core.kept import keep_file, keep_line, keep_lines, keep_value, load_kept, load_kept_lines, read_kept


class KeptFact(Struct):
    name: str
    number: int = 0


def _file(path: Path) -> None:
    path.write_bytes(b"x")


def _damaged(path: Path) -> None:
    path.write_bytes(b'{"name": "\xff"}')


def _nested(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def _folder(path: Path) -> None:
    path.mkdir()


def _circle(path: Path) -> None:
    path.symlink_to(path)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(4 << 30)


UNREADABLE = [_file, _damaged, _nested, _folder, _circle, _pipe, _device, _huge]
posix = pytest.mark.skipif(os.name == "nt", reason="pipes, devices and links are those of POSIX")


@posix
@pytest.mark.parametrize("spoil", UNREADABLE)
def test_what_cannot_be_read_counts_as_not_kept(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "kept")
    assert load_kept(tmp_path / "kept", KeptFact) is None
    assert load_kept(tmp_path / "kept", KeptFact, "msgpack") is None
    assert load_kept_lines(tmp_path / "kept", KeptFact) == []


def test_what_is_missing_is_not_kept_and_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_kept(tmp_path / "none" / "kept") is None
    assert not caplog.records


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_what_is_kept_is_read_again(tmp_path: Path, form: str) -> None:
    path = tmp_path / "new" / "kept"
    assert keep_value(path, KeptFact("a", 1), form)  # type: ignore[arg-type]
    assert load_kept(path, KeptFact, form) == KeptFact("a", 1)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "kept"
    for _ in range(3):
        assert not keep_file(path, b"")
        assert not keep_value(path, KeptFact("a"))
        assert not keep_lines(path, [KeptFact("a")])
        assert not keep_line(path, KeptFact("a"))
    assert len(caplog.records) == 1


def test_a_name_that_is_not_utf_8_is_not_kept_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert keep_value(path, KeptFact("before"))
    assert not keep_value(path, KeptFact("\udcff"))
    assert load_kept(path, KeptFact) == KeptFact("before")
    assert not keep_line(path, KeptFact("\udcff"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.symlink_to("/dev/full")
    assert not keep_line(path, KeptFact("a"))


@posix
def test_a_pipe_without_a_reader_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not keep_line(tmp_path / "pipe", KeptFact("a"))


def test_a_damaged_line_is_passed_over_and_half_a_line_swallows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert keep_line(path, KeptFact("a"))
    append_line(path, b'{"name": "\xff"}')
    with path.open("ab") as file:
        file.write(b'{"name": "to')
    assert keep_line(path, KeptFact("b"))
    assert [fact.name for fact in load_kept_lines(path, KeptFact)] == ["a", "b"]
