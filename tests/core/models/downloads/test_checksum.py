"""Checksums of a file that grows: they are right, read nothing twice, and end when somebody wants them to."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from core.models.downloads.checksum import BLOCK_BYTES, Checksum
from core.models.downloads.status import DownloadState
from core.retry import Stopped
from tests.core.models.downloads.conftest import Bench, finished, reached, until
from tests.fakes.hub import Fault, Sparse

MB = 1_000_000
CONTENT = bytes(range(256)) * 10_000


@pytest.mark.parametrize(
    "etag",
    [
        hashlib.sha256(CONTENT).hexdigest(),
        hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest(),
        "no-checksum-at-all",
    ],
    ids=["large file storage", "git", "neither"],
)
def test_a_checksum_of_what_was_here_and_what_came_is_that_of_the_whole(tmp_path: Path, etag: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:1000])
    checksum = Checksum(etag, len(CONTENT))
    checksum.read(path, 1000, threading.Event())
    checksum.add(CONTENT[1000:2000])
    path.write_bytes(CONTENT)
    checksum.read(path, len(CONTENT), threading.Event())
    assert checksum.taken == len(CONTENT)
    assert checksum.right


def test_a_checksum_of_another_file_is_wrong(tmp_path: Path) -> None:
    checksum = Checksum(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    checksum.add(CONTENT[:-1] + b"x")
    assert not checksum.right


def test_reading_a_file_for_its_checksum_ends_when_it_is_stopped(tmp_path: Path) -> None:
    path, stop = tmp_path / "file", threading.Event()
    path.write_bytes(b"x" * 4 * BLOCK_BYTES)
    checksum = Checksum("f" * 64, 4 * BLOCK_BYTES)
    stop.set()
    with pytest.raises(Stopped):
        checksum.read(path, 4 * BLOCK_BYTES, stop)
    assert checksum.taken == 0


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    with pytest.raises(OSError, match="became shorter"):
        Checksum("f" * 64, 20).read(path, 20, threading.Event())


def test_what_is_here_is_read_once_however_often_the_connection_breaks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []
    before = Checksum.read

    def reading(checksum: Checksum, path: Path, end: int, stop: threading.Event) -> None:
        read.append((checksum.taken, end))
        before(checksum, path, end, stop)

    monkeypatch.setattr(Checksum, "read", reading)
    quant = bench.add(Sparse(8 * MB))
    bench.hub.faults += [Fault("/cdn/*", stall_after=MB), *(Fault("/cdn/*", drop_after=MB) for _ in range(3))]
    first = bench.manager()
    key = first.enqueue(quant)
    until(first, key, reached(MB))
    first.close()
    second = bench.manager()
    second.resume(key)
    assert finished(second, key).state is DownloadState.DONE
    assert read == [(0, MB)]
    assert bench.hub.bytes_sent("/cdn/*") == 8 * MB
