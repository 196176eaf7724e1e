"""Checksums behind a writer: they are right, and they end when somebody wants them to."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from core.models.downloads.checksum import BLOCK, Follower, hasher
from core.models.downloads.retry import Stopped

if TYPE_CHECKING:
    from hashlib import _Hash


class Held:
    """A checksum that waits in its first block until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def update(self, _: memoryview) -> None:
        self.begun.set()
        self.go.wait()

    def hexdigest(self) -> str:
        return ""


def test_a_checksum_that_is_being_made_ends_when_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4 * BLOCK)
    digest, stop = Held(), threading.Event()
    with Follower(path, cast("_Hash", digest)) as follower:
        follower.grown(4 * BLOCK)
        digest.begun.wait()
        stop.set()
        with pytest.raises(Stopped):
            follower.finish(stop)
        digest.go.set()


def test_a_checksum_is_that_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * 10_000
    path.write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    digest = hasher(expected, len(content))
    assert digest is not None
    with Follower(path, digest) as follower:
        follower.grown(1000)
        follower.grown(len(content))
        assert follower.finish(threading.Event()) == expected
