"""A list of downloads that other processes change as well. Another manager of the same list stands for one, but where
it matters that it is one."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from core.errors import DownloadError, DownloadNotFound
from core.models.downloads.journal import NAME, Journal, Moved
from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadState
from tests.core.models.downloads.conftest import Bench, finished, in_state, reached, until
from tests.core.models.downloads.test_processes import follow, pull
from tests.fakes.hub import Fault, Sparse

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
    assert bench.manager().items() == ()


def test_what_another_process_fetches_is_not_forgotten_before_its_first_byte_is_here(bench: Bench) -> None:
    quant = bench.add(Sparse(MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=0))
    here, other = bench.manager(), bench.manager()
    key = other.enqueue(quant)
    until(other, key, in_state(DownloadState.RUNNING))
    here.forget_deleted(quant.repo)
    assert [item.id for item in here.items()] == [key]
    other.pause(key)
    assert [item.id for item in bench.manager().items()] == [key]
    here.forget_deleted(quant.repo)
    assert bench.manager().items() == ()


def test_who_only_waited_for_another_process_writes_nothing_when_it_stops(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    other, here = bench.manager(), bench.manager()
    key = other.enqueue(quant)
    until(other, key, reached(MB))
    before = (bench.state / NAME).read_bytes()
    here.enqueue(quant)
    until(here, key, lambda item: item.note is not None)
    here.close()
    assert (bench.state / NAME).read_bytes() == before


def pause(downloads: Downloads, key: str) -> None:
    """The first time it waits no longer."""
    downloads.pause(key)
    downloads.pause(key)


def cancel(downloads: Downloads, key: str) -> None:
    downloads.cancel(key)


def discard(downloads: Downloads, key: str) -> None:
    downloads.cancel(key, discard=True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
@pytest.mark.parametrize("stop", [pause, cancel, discard])
def test_who_waits_for_another_process_cannot_stop_it_and_is_told_so(
    bench: Bench, stop: Callable[[Downloads, str], None]
) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    child = pull(bench, quant)
    follow(child, MB)
    here = bench.manager()
    key = here.enqueue(quant)
    until(here, key, lambda item: item.note is not None)
    with pytest.raises(DownloadError, match=f"Process {child.pid} is downloading owner/model:Q4; stop it there"):
        stop(here, key)
    for each in (here, bench.manager()):
        item = each.item(key)
        assert (item.state, item.done) == (DownloadState.RUNNING, MB)
        assert item.note == f"Process {child.pid} is downloading it."
    child.kill()
    child.communicate()
    next_start = bench.manager()
    assert next_start.resume_pending().started == (key,)
    assert finished(next_start, key).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 4 * MB


@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
@pytest.mark.parametrize("state", [DownloadState.PAUSED, DownloadState.FAILED, DownloadState.CANCELLED])
def test_what_another_process_fetches_is_running_whatever_state_was_written_last(
    bench: Bench, state: DownloadState
) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    child = pull(bench, quant)
    key = follow(child, MB).id
    Journal(bench.state / NAME).append(Moved(key, state))
    here = bench.manager()
    assert here.item(key).state is DownloadState.RUNNING
    with pytest.raises(DownloadError, match="stop it there"):
        here.cancel(key)
    child.kill()
    child.communicate()
    assert here.item(key).state is state


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


def test_a_list_that_cannot_be_written_stops_no_download_and_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.root.mkdir(parents=True, exist_ok=True)
    bench.state.touch()
    here = bench.manager()
    quant = bench.add(Sparse(MB))
    assert finished(here, here.enqueue(quant)).state is DownloadState.DONE
    assert bench.pointer(quant).stat().st_size == MB
    assert sum("are not remembered" in record.getMessage() for record in caplog.records) == 1
    assert bench.manager().items() == ()
