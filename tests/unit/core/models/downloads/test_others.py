"""A list of downloads that other processes change as well. Another manager of the same list stands for one, but where
it matters that it is one."""

from __future__ import annotations

import sys

import pytest

from core.errors import DownloadError, DownloadNotFound
from core.models.downloads.items import DownloadState
from core.models.downloads.journal import NAME
from tests.hub import Fault, Sparse
from tests.unit.core.models.downloads.conftest import Bench, finished, reached, until
from tests.unit.core.models.downloads.test_processes import follow, pull

MB = 1_000_000


def test_what_another_process_downloads_appears_in_a_list_that_was_read_already(bench: Bench) -> None:
    here, other = bench.manager(), bench.manager()
    assert here.items() == ()
    key = other.enqueue(bench.add(Sparse(2 * MB)))
    assert finished(other, key).state is DownloadState.DONE
    (item,) = here.items()
    assert (item.id, item.state, item.done) == (key, DownloadState.DONE, 2 * MB)
    assert here.item(key) == item


def test_what_another_process_forgets_is_listed_no_longer(bench: Bench) -> None:
    other = bench.manager()
    key = other.enqueue(bench.add(Sparse(MB)))
    finished(other, key)
    here = bench.manager()
    assert [item.id for item in here.items()] == [key]
    other.forget(key)
    assert here.items() == ()
    with pytest.raises(DownloadNotFound):
        here.item(key)


def test_what_another_process_discards_is_told_with_what_is_left(bench: Bench) -> None:
    other = bench.manager()
    key = other.enqueue(bench.add(Sparse(MB)))
    finished(other, key)
    here = bench.manager()
    assert here.item(key).done == MB
    other.cancel(key, discard=True)
    assert (here.item(key).state, here.item(key).done) == (DownloadState.CANCELLED, 0)


def test_what_this_process_is_at_goes_on_whatever_others_write(bench: Bench) -> None:
    mine, theirs = bench.add(Sparse(4 * MB)), bench.add(Sparse(MB, seed=1), repo="owner/small")
    bench.hub.faults.append(Fault("/cdn/owner/model/*", stall_after=MB))
    here, other = bench.manager(), bench.manager()
    key = here.enqueue(mine)
    until(here, key, reached(MB))
    second = other.enqueue(theirs)
    finished(other, second)
    assert [(item.id, item.state, item.done) for item in here.items()] == [
        (key, DownloadState.RUNNING, MB),
        (second, DownloadState.DONE, MB),
    ]
    (bench.state / NAME).write_bytes(b"")
    assert [(item.id, item.state) for item in here.items()] == [(key, DownloadState.RUNNING)]
    here.pause(key)
    here.resume(key)
    assert finished(here, key).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/owner/model/*") == 4 * MB


def test_a_list_that_cannot_be_read_again_is_told_as_it_was(bench: Bench) -> None:
    here = bench.manager()
    key = here.enqueue(bench.add(Sparse(MB)))
    done = finished(here, key)
    assert here.items() == (done,)
    bench.state.rename(bench.root / "away")
    bench.state.touch()
    assert here.items() == (done,)
    with pytest.raises(DownloadError, match="cannot be read"):
        bench.manager().items()


@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
def test_what_another_process_fetches_now_is_running_and_is_not_stopped_from_here(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    here = bench.manager()
    assert here.items() == ()
    child = pull(bench, quant)
    follow(child, MB)
    (item,) = here.items()
    assert (item.state, item.done) == (DownloadState.RUNNING, MB)
    assert item.note == f"Process {child.pid} is downloading it."
    for stop in (here.pause, here.cancel):
        with pytest.raises(DownloadError, match=f"Process {child.pid} is downloading owner/model:Q4; stop it there"):
            stop(item.id)
    child.kill()
    child.communicate()
    assert here.item(item.id).state is DownloadState.PAUSED
    here.resume(item.id)
    assert finished(here, item.id).state is DownloadState.DONE
