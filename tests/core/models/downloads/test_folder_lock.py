"""One process at a time downloads. Another manager of the same folder stands for one, but where signals are sent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DownloadNotFound, DownloadsBusy
from core.models.downloads.folder_lock import FolderLock, is_downloading
from core.models.downloads.journal import NAME
from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadState, Resumed
from tests.core.models.downloads.conftest import Bench, finished, in_state, reached, until
from tests.core.models.downloads.test_processes import follow, pull
from tests.fakes.hub import Fault, Sparse

MB = 1_000_000
BUSY = "Another benchtop is downloading owner/model:Q4; wait until that is done, or pause it there."


def test_a_lock_is_free_when_its_last_holder_has_given_it(tmp_path: Path) -> None:
    mine, theirs = FolderLock(tmp_path), FolderLock(tmp_path)
    assert mine.take()
    assert mine.take()
    mine.give()
    assert not theirs.take()
    assert is_downloading(tmp_path)
    mine.give()
    assert not is_downloading(tmp_path)
    assert theirs.take()
    assert not mine.held


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    lock = FolderLock(tmp_path / "state")
    assert lock.take()
    assert not is_downloading(tmp_path / "state")
    lock.give()
    assert not lock.held


def test_what_another_process_downloaded_appears_in_a_list_that_was_read_already(bench: Bench) -> None:
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


def test_what_this_process_is_at_goes_on_whatever_becomes_of_the_journal(bench: Bench) -> None:
    bench.hub.faults.append(Fault("/cdn/owner/model/*", stall_after=MB))
    here = bench.manager()
    key = here.enqueue(bench.add(Sparse(4 * MB)))
    until(here, key, reached(MB))
    (bench.state / NAME).write_bytes(b"")
    assert [(item.id, item.state, item.done) for item in here.items()] == [(key, DownloadState.RUNNING, MB)]


def test_processes_download_one_after_the_other(bench: Bench) -> None:
    first, second = bench.add(Sparse(MB)), bench.add(Sparse(MB, seed=1), repo="owner/small")
    here, other = bench.manager(), bench.manager()
    keys = [here.enqueue(first)]
    finished(here, keys[0])
    keys.append(other.enqueue(second))
    finished(other, keys[1])
    here.forget(keys[0])
    assert [item.id for item in other.items()] == [item.id for item in here.items()] == [keys[1]]


def test_a_list_that_cannot_be_read_again_is_told_as_it_was(bench: Bench) -> None:
    here = bench.manager()
    key = here.enqueue(bench.add(Sparse(MB)))
    done = finished(here, key)
    assert here.items() == (done,)
    bench.state.rename(bench.root / "away")
    bench.state.touch()
    assert here.items() == (done,)
    assert bench.manager().items() == ()


def test_nothing_is_forgotten_while_another_process_downloads(bench: Bench) -> None:
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


def enqueue(bench: Bench, downloads: Downloads, key: str) -> None:
    downloads.enqueue(bench.add(Sparse(MB, seed=1), repo="owner/small"))


def resume(bench: Bench, downloads: Downloads, key: str) -> None:
    downloads.resume(key)


def pause(bench: Bench, downloads: Downloads, key: str) -> None:
    downloads.pause(key)


def cancel(bench: Bench, downloads: Downloads, key: str) -> None:
    downloads.cancel(key)


def discard(bench: Bench, downloads: Downloads, key: str) -> None:
    downloads.cancel(key, discard=True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
@pytest.mark.parametrize("change", [enqueue, resume, pause, cancel, discard])
def test_a_second_process_says_who_downloads_and_is_free_to_when_that_one_is_killed(
    bench: Bench, change: Callable[[Bench, Downloads, str], None]
) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/owner/model/*", stall_after=MB))
    here = bench.manager()
    assert here.items() == ()
    child = pull(bench, quant)
    key = follow(child, MB).id
    with pytest.raises(DownloadsBusy) as told:
        change(bench, here, key)
    assert str(told.value) == BUSY
    (item,) = here.items()
    assert (item.state, item.done) == (DownloadState.RUNNING, MB)
    assert item.note == "Another benchtop is downloading it."
    assert here.item(key) == item
    assert here.resume_pending() == Resumed()
    child.kill()
    child.communicate()
    assert here.item(key).state is DownloadState.PAUSED
    assert here.resume_pending().started == (key,)
    assert finished(here, key).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/owner/model/*") == 4 * MB


def test_going_on_with_what_is_paused_is_refused_while_another_process_downloads(bench: Bench) -> None:
    quant, paused = bench.add(Sparse(4 * MB)), bench.add(Sparse(4 * MB, seed=1), repo="owner/paused")
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB, times=2))
    other, here = bench.manager(), bench.manager()
    key = other.enqueue(paused)
    until(other, key, reached(MB))
    other.pause(key)
    until(other, other.enqueue(quant), reached(MB))
    with pytest.raises(DownloadsBusy):
        here.resume_pending(paused=True)


def test_what_a_process_that_is_gone_was_at_is_not_taken_for_what_another_one_downloads(bench: Bench) -> None:
    left, quant = bench.add(Sparse(4 * MB, seed=1), repo="owner/left"), bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB, times=2))
    first, second, here = bench.manager(), bench.manager(), bench.manager()
    key = first.enqueue(left)
    until(first, key, reached(MB))
    first.close()
    until(second, second.enqueue(quant), reached(MB))
    assert [item.state for item in here.items()] == [DownloadState.PAUSED, DownloadState.RUNNING]
    second.close()
    assert len(here.resume_pending().started) == 2


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
