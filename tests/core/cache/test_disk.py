"""The disk tier: bounded, shared, and off without fuss where it cannot be written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.cache import disk
from core.cache.container import read_stored
from core.cache.disk import SUFFIX, DiskTier, list_stored_files
from core.cache.identity import ModelIdentity
from tests.fakes.prefixes import IDENTITY, WRITER, header_of, state_of

KILLS = 12


def test_what_was_written_is_found_by_the_next_process(tmp_path: Path) -> None:
    DiskTier(tmp_path, 10_000).write(header_of(), (1, 2, 3), b"state")
    tier = DiskTier(tmp_path, 10_000)
    ((path, found),) = tier.load(IDENTITY.digest)
    assert (found.header, found.tokens) == (header_of(), (1, 2, 3))
    assert tier.read(path, found.header, found.tokens) == b"state"
    assert tier.load(ModelIdentity("others", "llamacpp", "1.2", "").digest) == []


def test_prompts_are_nobody_elses_to_read(tmp_path: Path) -> None:
    folder = tmp_path / "prefixes"
    written = DiskTier(folder, 10_000).write(header_of(), (1, 2, 3), b"state")
    assert written is not None
    for path in (folder, written[0].parent, written[0]):
        assert path.stat().st_mode & 0o077 == 0


def test_the_files_used_longest_ago_make_room(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 5_000)
    paths: list[Path] = []
    for number in range(3):
        written = tier.write(header_of(), (number,), bytes(1_000))
        assert written is not None
        assert written[1] == set()
        os.utime(written[0], (number, number))
        paths.append(written[0])
    assert tier.read(paths[0], header_of(), (0,)) == bytes(1_000)
    written = tier.write(header_of(), (9,), bytes(1_000))
    assert written is not None
    assert written[1] == {paths[1]}
    assert tier.used <= tier.limit
    assert tier.write(header_of(), (10,), bytes(5_001)) is None
    assert not tier.problem


def _write(tier: DiskTier, number: int, used: float) -> Path:
    """A file of a bit more than 1,000 bytes that was used then."""
    written = tier.write(header_of(), (number,), bytes(1_000))
    assert written is not None
    os.utime(written[0], (used, used))
    return written[0]


def test_a_file_is_written_without_looking_through_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = DiskTier(tmp_path, 100_000)
    first = _write(tier, 1, 0.0)
    with monkeypatch.context() as patch:
        patch.delattr(disk, "_walk")
        second = _write(tier, 2, 1.0)
    assert tier.used == first.stat().st_size + second.stat().st_size


def test_room_is_made_without_looking_through_all_files_and_what_was_used_since_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "UNSEEN_SHARE", 1.0)
    before = DiskTier(tmp_path, 100_000)
    paths = [_write(before, number, float(number)) for number in range(8)]
    tier = DiskTier(tmp_path, sum(path.stat().st_size for path in paths))
    assert len(tier.load(IDENTITY.digest)) == 8
    monkeypatch.delattr(disk, "_walk")
    assert tier.read(paths[0], header_of(), (0,)) == bytes(1_000)
    os.utime(paths[2], (4.5, 4.5))
    paths[3].unlink()
    gone: set[Path] = set()
    for number in range(10, 14):
        written = tier.write(header_of(), (number,), bytes(1_000))
        assert written is not None
        gone |= written[1]
    assert {paths.index(path) for path in gone} == {1, 3, 4, 2}
    assert sum(path.stat().st_size for path in paths[-1].parent.iterdir()) == tier.used <= tier.limit


def test_what_other_processes_wrote_and_deleted_is_seen_after_a_while(tmp_path: Path) -> None:
    tier, other = DiskTier(tmp_path, 100_000), DiskTier(tmp_path, 100_000)
    lost = _write(tier, 0, 0.0)
    for number in range(1, 5):
        _write(other, number, 1.0)
    lost.unlink()
    gone: set[Path] = set()
    for number in range(10, 18):
        written = tier.write(header_of(), (number,), bytes(1_000))
        assert written is not None
        gone |= written[1]
    assert gone == {lost}
    assert tier.used == sum(file.size for file in list_stored_files(tmp_path))


def test_after_an_error_the_files_are_counted_anew(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 100_000, retry=0.0)
    lost = _write(tier, 0, 0.0)
    _write(DiskTier(tmp_path, 100_000), 1, 1.0)
    folder = lost.parent
    folder.rename(tmp_path / "aside")
    folder.write_text("in the way")
    assert tier.write(header_of(), (2,), b"state") is None
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    lost.unlink()
    written = tier.write(header_of(), (3,), bytes(1_000))
    assert written is not None
    assert written[1] == {lost}
    assert tier.used == sum(file.size for file in list_stored_files(tmp_path))


def test_a_lower_limit_than_at_the_last_start_is_kept_at_once(tmp_path: Path) -> None:
    before = DiskTier(tmp_path, 10_000)
    for number in range(3):
        written = before.write(header_of(), (number,), bytes(1_000))
        assert written is not None
        os.utime(written[0], (number, number))
    tier = DiskTier(tmp_path, 4_000)
    assert {found.tokens for _, found in tier.load(IDENTITY.digest)} == {(1,), (2,)}
    assert sum(file.size for file in list_stored_files(tmp_path)) == tier.used <= 4_000


def test_a_damaged_file_is_told_deleted_and_a_miss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tier = DiskTier(tmp_path, 10_000)
    written = tier.write(header_of(), (1, 2, 3), b"state")
    assert written is not None
    damaged = written[0].read_bytes()[:-1] + b"x"
    written[0].write_bytes(damaged)
    assert tier.read(written[0], header_of(), (1, 2, 3)) is None
    assert [record.message for record in caplog.records] == ["a stored prefix cannot be used, and is computed again"]
    assert list(list_stored_files(tmp_path)) == []


def test_a_folder_that_cannot_be_written_switches_the_tier_off_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    tier = DiskTier(tmp_path / "file" / "prefixes", 10_000)
    assert tier.write(header_of(), (1,), b"state") is None
    assert tier.write(header_of(), (2,), b"state") is None
    assert "Not a directory" in tier.problem
    assert [record.message for record in caplog.records] == ["prefixes are no longer stored on disk"]


def test_what_could_not_be_written_is_tried_again_after_a_while_and_told_when_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = tmp_path / "prefixes"
    folder.write_text("in the way")
    patient, tier = DiskTier(folder, 10_000), DiskTier(folder, 10_000, retry=0.0)
    for number in range(3):
        assert patient.write(header_of(), (number,), b"state") is tier.write(header_of(), (number,), b"state") is None
    folder.unlink()
    assert not patient.writable
    assert patient.write(header_of(), (4,), b"state") is None
    assert tier.write(header_of(), (4,), b"state") is not None
    assert not tier.problem
    assert [record.message for record in caplog.records] == [
        *["prefixes are no longer stored on disk"] * 2,
        "prefixes are stored on disk again",
    ]


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="folders have owners on POSIX alone")
@pytest.mark.parametrize("mode", ["500", "000"])
def test_a_folder_that_may_not_be_written_or_looked_into_is_done_without(mode: str) -> None:
    """As a user who is not root, where the tests run as root: nothing is forbidden to root."""
    program = """
import os, sys, tempfile
from pathlib import Path
from core.cache.disk import DiskTier
from tests.fakes.prefixes import IDENTITY, header_of
if os.geteuid() == 0:
    os.setuid(65534)
with tempfile.TemporaryDirectory() as home:
    forbidden = Path(home) / "prefixes"
    forbidden.mkdir(int(sys.argv[1], 8))
    for folder in (forbidden, forbidden / "below"):
        for limit in (None, 10_000):
            tier = DiskTier(folder, limit)
            assert tier.load(IDENTITY.digest) == []
            assert tier.write(header_of(), (1,), b"state") is None
            assert "Permission denied" in tier.problem, tier.problem
"""
    subprocess.run([sys.executable, "-c", program, mode], check=True, timeout=60)


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX's")
def test_a_full_disk_leaves_no_half_file_and_what_is_stored_can_still_be_read(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from core.cache.disk import DiskTier
from tests.fakes.prefixes import header_of
tier = DiskTier(Path(sys.argv[1]), 10_000_000)
path, _ = tier.write(header_of(), (1,), b"small")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
assert tier.write(header_of(), (2,), bytes(500_000)) is None
assert tier.problem
assert tier.read(path, header_of(), (1,)) == b"small"
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [
        each.path.name for each in list_stored_files(tmp_path)
    ]


def test_temporary_files_of_the_killed_go_after_a_while(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 10_000)
    folder = tmp_path / IDENTITY.digest
    folder.mkdir()
    old, new = folder / f".a{SUFFIX}.x1", folder / f".b{SUFFIX}.x2"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    tier.write(header_of(), (1,), b"state")
    assert not old.exists()
    assert new.exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_writer_killed_at_any_moment_leaves_whole_files_alone(tmp_path: Path) -> None:
    for kill in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(kill * 1000), "200000"], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.01 + 0.007 * kill)
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
        writer.stdout.close()
    tier = DiskTier(tmp_path, 4_000_000)
    files = tier.load(IDENTITY.digest)
    assert files
    assert len(files) == len(list(list_stored_files(tmp_path)))
    for path, found in files:
        assert read_stored(path) == found
        assert tier.read(path, found.header, found.tokens) == state_of(found.tokens, 200_000)
