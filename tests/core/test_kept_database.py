"""A file that one thread writes, whatever happens to the file or the process."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.kept_database import KeptDatabase, NewerFile

SCHEMA = (("CREATE TABLE words (word TEXT NOT NULL)",),)


def note(word: str, database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO words VALUES (?)", (word,))


def words_in(kept: KeptDatabase) -> list[object]:
    assert kept.flush()
    return [word for (word,) in kept.read("SELECT word FROM words ORDER BY rowid")]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptDatabase]:
    made = KeptDatabase(tmp_path / "state" / "words.sqlite3", SCHEMA)
    yield made
    made.close()


def test_what_was_put_is_there_for_another_process_once_it_is_flushed(kept: KeptDatabase) -> None:
    assert kept.read("SELECT word FROM words") == []
    for word in "abc":
        kept.put(partial(note, word))
    assert words_in(kept) == ["a", "b", "c"]
    again = KeptDatabase(kept.path, SCHEMA)
    assert again.read("SELECT count(*) FROM words") == [(3,)]


def test_nobody_else_may_read_the_file(kept: KeptDatabase) -> None:
    kept.put(partial(note, "a"))
    assert kept.flush()
    assert {path.stat().st_mode & 0o077 for path in kept.path.parent.iterdir()} == {0}


def test_what_was_put_is_written_before_the_end(kept: KeptDatabase) -> None:
    kept.put(partial(note, "last"))
    kept.close()
    assert kept.read("SELECT word FROM words") == [("last",)]
    kept.put(partial(note, "too late"))
    assert kept.read("SELECT count(*) FROM words") == [(1,)]


def test_two_that_share_a_file_lose_nothing(kept: KeptDatabase) -> None:
    other = KeptDatabase(kept.path, SCHEMA)
    for number in range(200):
        (kept if number % 2 else other).put(partial(note, str(number)))
    assert other.flush()
    assert sorted(map(int, map(str, words_in(kept)))) == list(range(200))
    other.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b""])
def test_a_damaged_file_is_set_aside_and_begun_anew(kept: KeptDatabase, damage: bytes) -> None:
    kept.path.parent.mkdir(parents=True)
    kept.path.write_bytes(damage)
    kept.put(partial(note, "after"))
    assert words_in(kept) == ["after"]
    aside = [path for path in kept.path.parent.iterdir() if "damaged" in path.name]
    assert [path.read_bytes() for path in aside] == ([damage] if damage else [])


def test_a_file_of_an_older_version_is_brought_up_to_this_one(kept: KeptDatabase) -> None:
    kept.put(partial(note, "old"))
    assert words_in(kept) == ["old"]
    later = KeptDatabase(
        kept.path, (*SCHEMA, ("ALTER TABLE words ADD COLUMN said REAL",), ("UPDATE words SET said = 1",))
    )
    assert later.read("SELECT word, said FROM words") == [("old", 1.0)]
    later.put(partial(lambda word, database: database.execute("INSERT INTO words VALUES (?, 2)", (word,)), "new"))
    assert words_in(later) == ["old", "new"]
    later.close()


def test_a_file_of_a_newer_version_is_left_alone_and_what_is_put_waits(kept: KeptDatabase) -> None:
    later = KeptDatabase(kept.path, (*SCHEMA, ("ALTER TABLE words ADD COLUMN said REAL",)))
    later.put(lambda database: database.execute("INSERT INTO words VALUES ('x', 1)"))
    assert later.flush()
    later.close()
    kept.put(partial(note, "mine"))
    assert not kept.flush()
    assert "newer version" in (kept.trouble or "")
    with pytest.raises(NewerFile):
        kept.read("SELECT word FROM words")
    assert later.read("SELECT word FROM words") == [("x",)]
    assert kept.set_aside is None


def test_a_reader_that_meets_damage_has_the_file_set_aside(kept: KeptDatabase) -> None:
    for number in range(2000):
        kept.put(partial(note, f"{number} " * 20))
    assert kept.flush()
    kept.close()
    data = bytearray(kept.path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    kept.path.write_bytes(data)
    again = KeptDatabase(kept.path, SCHEMA)
    with pytest.raises(sqlite3.DatabaseError):
        again.read("SELECT count(*), sum(length(word)) FROM words")
    assert words_in(again) == []
    assert again.set_aside is not None
    assert again.set_aside.read_bytes()[:16] == b"SQLite format 3\0"
    assert again.trouble is None
    again.close()


def test_a_write_that_cannot_be_done_stops_no_other(kept: KeptDatabase) -> None:
    kept.put(lambda _: 1 / 0)
    assert kept.flush()
    kept.put(partial(note, "next"))
    assert words_in(kept) == ["next"]


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_holds_nobody_up(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    kept = KeptDatabase(folder / "words.sqlite3", SCHEMA)
    kept.put(partial(note, "a"))
    kept.close(0.1)
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_a_file_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    kept = KeptDatabase(tmp_path / "file" / "words.sqlite3", SCHEMA)
    kept.put(partial(note, "a"))
    kept.close(10.0)
    assert not kept.flush(0)


def test_of_more_than_memory_may_hold_the_oldest_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    kept = KeptDatabase(tmp_path / "file" / "words.sqlite3", SCHEMA)
    for word in "abcd":
        kept.put(partial(note, word), size=30_000_000)
    assert kept.waiting_bytes <= 64 * 1024 * 1024
    kept.close()


BESIDE = """
import sys
from pathlib import Path
from core.kept_database import KeptDatabase
kept = KeptDatabase(Path(sys.argv[1]), (("CREATE TABLE words (word TEXT NOT NULL)",),))
kept.put(lambda database: database.execute("INSERT INTO words VALUES ('beside')"))
kept.close()
print(kept.read("SELECT count(*) FROM words")[0][0])
"""


def test_what_is_written_after_another_process_has_come_and_gone_is_there_for_the_next_one(kept: KeptDatabase) -> None:
    for number in (2, 4):
        kept.put(partial(note, "here"))
        assert "here" in words_in(kept)
        done = subprocess.run(
            [sys.executable, "-c", BESIDE, str(kept.path)], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == number
        assert len(words_in(kept)) == number


KILLED = """
import sys
from pathlib import Path
from core.kept_database import KeptDatabase
kept = KeptDatabase(Path(sys.argv[1]), (("CREATE TABLE words (word TEXT NOT NULL)",),))
number = 0
while True:
    number += 1
    kept.put(lambda database, word=str(number): database.execute("INSERT INTO words VALUES (?)", (word,)))
    kept.flush()
    print(number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_what_was_flushed_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "words.sqlite3"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(3)]
        child.kill()
    kept = KeptDatabase(path, SCHEMA)
    found = [int(str(word)) for (word,) in kept.read("SELECT word FROM words ORDER BY rowid")]
    assert found[:3] == told
    assert found == list(range(1, len(found) + 1))


def test_one_write_of_several_that_cannot_be_done_takes_no_other_with_it(kept: KeptDatabase) -> None:
    for write in (partial(note, "before"), lambda _: 1 / 0, partial(note, "after")):
        kept.put(write)
    assert words_in(kept) == ["before", "after"]


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open cannot be deleted there")
def test_after_somebody_has_deleted_the_file_what_comes_then_is_written_to_a_new_one(kept: KeptDatabase) -> None:
    kept.put(partial(note, "a"))
    assert kept.flush()
    kept.path.unlink()
    kept.put(partial(note, "b"))
    assert words_in(kept) == ["b"]


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open cannot be moved there")
def test_a_file_that_another_process_has_set_aside_is_written_no_more(kept: KeptDatabase) -> None:
    kept.put(partial(note, "a"))
    assert kept.flush()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{kept.path}{suffix}").rename(f"{kept.path}.damaged{suffix}")
    other = KeptDatabase(kept.path, SCHEMA)
    other.put(partial(note, "b"))
    assert other.flush()
    kept.put(partial(note, "c"))
    assert words_in(kept) == ["b", "c"]
    other.put(partial(note, "d"))
    assert words_in(other) == ["b", "c", "d"]
    other.close()
    assert words_in(kept) == ["b", "c", "d"]


def test_who_asks_does_not_wait_for_a_file_that_cannot_be_written_now(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    kept = KeptDatabase(tmp_path / "file" / "words.sqlite3", SCHEMA)
    kept.put(partial(note, "a"))
    assert not kept.flush(3600.0)
    assert not kept.flush(3600.0)
    assert kept.trouble
    kept.close()


@pytest.mark.skipif(sys.platform != "linux", reason="names of other lengths are too long elsewhere")
def test_a_damaged_file_that_cannot_be_set_aside_is_not_tried_for_ever(tmp_path: Path) -> None:
    kept = KeptDatabase(tmp_path / f"{'w' * 240}.sqlite3", SCHEMA)
    kept.path.write_bytes(b"no database at all" * 100)
    kept.put(partial(note, "a"))
    assert not kept.flush(3600.0)
    kept.close()
    assert not any(thread.name == f"writer of {kept.path.name}" for thread in threading.enumerate())
