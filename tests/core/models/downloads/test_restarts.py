"""What a restart finds of downloads, and goes on with."""

from __future__ import annotations

from core.errors import DiskFull
from core.models.downloads.status import DownloadState, Resumed
from tests.core.models.downloads.conftest import Bench, finished, reached, until
from tests.fakes.hub import Fault, Sparse

MB = 1_000_000


def test_a_download_that_a_restart_cut_off_shows_as_paused_and_goes_on_only_when_told(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    first = bench.manager()
    key = first.enqueue(quant)
    until(first, key, reached(MB))
    assert first.under_way == 1
    first.close()
    second = bench.manager()
    (item,) = second.items()
    assert second.under_way == 0
    assert (item.id, item.state, item.done) == (key, DownloadState.PAUSED, MB)
    asked = len(bench.hub.requests)
    assert second.resume_pending().started == (key,)
    assert finished(second, key).state is DownloadState.DONE
    assert len(bench.hub.requests) > asked
    assert bench.hub.bytes_sent("/cdn/*") == 4 * MB


def test_one_download_that_finds_no_room_does_not_keep_the_others_from_going_on(bench: Bench) -> None:
    large, small = bench.add(Sparse(50 * MB)), bench.add(Sparse(2 * MB, seed=1), repo="owner/small")
    bench.hub.faults += [Fault(f"/cdn/{quant.repo}/*", stall_after=1000) for quant in (large, small)]
    first = bench.manager()
    keys = [first.enqueue(quant) for quant in (large, small)]
    for key in keys:
        until(first, key, reached(1000))
    first.close()
    second = bench.manager(free=lambda _: 10 * MB)
    resumed = second.resume_pending()
    assert resumed.started == (keys[1],)
    assert [(key, type(error)) for key, error in resumed.refused.items()] == [(keys[0], DiskFull)]
    assert finished(second, keys[1]).state is DownloadState.DONE
    assert second.item(keys[0]).state is DownloadState.PAUSED


def test_what_its_user_paused_is_not_pending_after_a_restart(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    first = bench.manager()
    key = first.enqueue(quant)
    until(first, key, reached(MB))
    first.pause(key)
    second = bench.manager()
    assert second.resume_pending() == Resumed()
    assert second.item(key).state is DownloadState.PAUSED
