"""Downloads and processes: killed ones, several at once, and one that may not write more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.repository import Quant
from tests.core.models.downloads.conftest import PATIENCE, Bench, finished
from tests.fakes.hub import Fault, Sparse

ROOT = Path(__file__).parents[4]
MB = 1_000_000

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def pull(bench: Bench, quant: Quant, *, limit: int | None = None) -> subprocess.Popen[str]:
    listed = bench.root / "quant.json"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_bytes(msgspec.json.encode(quant))
    words = [bench.hub.url, str(bench.root), str(listed), *([str(limit)] if limit is not None else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.core.models.downloads.puller", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def follow(child: subprocess.Popen[str], enough: int) -> DownloadItem:
    """Read its reports until so many bytes are on the disk."""
    assert child.stdout is not None
    for line in child.stdout:
        item = msgspec.json.decode(line, type=DownloadItem)
        if item.done >= enough:
            return item
    raise AssertionError(child.communicate())


def ended(child: subprocess.Popen[str]) -> DownloadItem:
    out, err = child.communicate(timeout=PATIENCE)
    assert "Traceback" not in err, err
    return msgspec.json.decode(out.splitlines()[-1], type=DownloadItem)


def test_after_a_kill_nothing_that_reached_the_disk_is_fetched_again(bench: Bench) -> None:
    quant = bench.add(Sparse(6 * MB))
    bench.hub.faults += [Fault("/cdn/*", stall_after=2 * MB, times=2)]
    for number in (1, 2):
        child = pull(bench, quant)
        follow(child, number * 2 * MB)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    downloads = bench.manager()
    (item,) = downloads.items()
    assert (item.state, item.done) == (DownloadState.PAUSED, 4 * MB)
    downloads.resume_pending()
    assert finished(downloads, item.id).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 6 * MB


def test_of_two_processes_that_pull_the_same_one_does_and_the_other_says_so(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    first = pull(bench, quant)
    follow(first, MB)
    second = pull(bench, quant)
    _, told = second.communicate(timeout=PATIENCE)
    assert "Another benchtop is downloading owner/model:Q4" in told
    first.kill()
    first.communicate()
    assert ended(pull(bench, quant)).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 4 * MB


def test_a_disk_that_becomes_full_in_the_middle_keeps_what_is_there(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    child = pull(bench, quant, limit=MB + 123)
    item = ended(child)
    assert child.returncode == 1
    assert item.state is DownloadState.FAILED
    assert item.error == (
        "The disk became full while owner/model:Q4 was downloaded; 1.0 MB of it are kept: free some room and download "
        "it again, which goes on from there."
    )
    (partial,) = bench.partials()
    assert partial.stat().st_size == MB + 123
    downloads = bench.manager()
    downloads.resume(item.id)
    assert finished(downloads, item.id).state is DownloadState.DONE


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_may_not_be_written_to_is_a_sentence(bench: Bench) -> None:
    quant = bench.add(b"x" * 100)
    bench.cache.mkdir(parents=True)
    bench.cache.chmod(0o500)
    try:
        downloads = bench.manager()
        error = finished(downloads, downloads.enqueue(quant)).error or ""
    finally:
        bench.cache.chmod(0o700)
    assert error.startswith("owner/model:Q4 could not be written to")
