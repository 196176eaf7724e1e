"""Downloads against a Hub on loopback: what arrives, what is kept, what is said when it fails."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.errors import DiskFull, DownloadError, DownloadNotFound, HubUnreachable, RequestError
from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.repository import RepoFile
from core.retry import Patience
from core.settings.schema import DownloadSettings
from tests.core.models.downloads.conftest import (
    PATIENCE,
    SETTINGS,
    Bench,
    finished,
    in_state,
    quant_of,
    reached,
    until,
)
from tests.fakes.hub import Fault, Sparse

MB = 1_000_000


def test_what_was_downloaded_is_found_by_huggingface_hub_without_network(bench: Bench) -> None:
    bench.hub.add("owner/model", {"config.json": b'{"a": 1}', "model.gguf": Sparse(3 * MB), "sub/b.gguf": b"x" * 99})
    quant = quant_of(bench.hub, "owner/model")
    downloads = bench.manager()
    item = finished(downloads, downloads.enqueue(quant))
    assert (item.state, item.error) == (DownloadState.DONE, None)
    assert item.done == item.total == quant.size
    bench.hub.stop()
    from huggingface_hub import hf_hub_download, scan_cache_dir

    for revision in (quant.revision, "main"):
        for file in quant.files:
            found = Path(
                hf_hub_download(quant.repo, file.path, revision=revision, cache_dir=bench.cache, local_files_only=True)
            )
            assert found.stat().st_size == file.size
    assert hashlib.sha256(bench.pointer(quant).read_bytes()).hexdigest() == quant.files[1].sha256
    (repo,) = scan_cache_dir(bench.cache).repos
    assert {file.file_name for revision in repo.revisions for file in revision.files} == {
        "config.json",
        "model.gguf",
        "b.gguf",
    }
    assert bench.partials() == []
    assert bench.outside() == []


def test_nothing_is_fetched_twice(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    finished(downloads, key)
    assert downloads.enqueue(quant) == key
    assert finished(downloads, key).state is DownloadState.DONE
    fresh = Downloads(bench.root / "elsewhere", SETTINGS, bench.access(), free=lambda _: 1 << 50)
    assert finished(fresh, fresh.enqueue(quant)).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 2 * MB


def test_a_file_that_huggingface_hub_fetched_is_not_fetched_again(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    from huggingface_hub import hf_hub_download

    hf_hub_download(quant.repo, "model.gguf", cache_dir=bench.cache, endpoint=bench.hub.url)
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 2 * MB


def test_a_paused_download_goes_on_where_it_stopped(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    until(downloads, key, reached(MB))
    downloads.pause(key)
    item = downloads.item(key)
    assert (item.state, item.done) == (DownloadState.PAUSED, MB)
    downloads.resume(key)
    assert finished(downloads, key).state is DownloadState.DONE
    assert bench.hub.requests[-4].headers["range"] == f"bytes={MB}-"
    assert bench.hub.bytes_sent("/cdn/*") == 4 * MB


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/cdn/*", drop_after=MB),
        Fault("/cdn/*", status=503, headers={"Retry-After": "0"}),
        Fault("/cdn/*", status=403),
        Fault("/owner/*", method="HEAD", status=429, headers={"Retry-After": "0"}),
        Fault("/owner/*", method="HEAD", status=500),
    ],
    ids=["dropped", "unavailable", "expired", "limited", "broken"],
)
def test_what_may_pass_by_itself_is_tried_again(bench: Bench, fault: Fault) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults.append(fault)
    states: list[DownloadState] = []
    downloads = bench.manager()
    downloads.listen(lambda item: states.append(item.state))
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert DownloadState.RETRYING in states
    assert bench.hub.bytes_sent("/cdn/*") == 3 * MB + (
        len(b'{"error": "The Hub was told to fail."}') if fault.status and fault.where == "/cdn/*" else 0
    )


def test_a_stalled_connection_is_given_up_and_opened_again(bench: Bench) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    downloads = bench.manager(DownloadSettings(reserve=0, stall_timeout=0.2))
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 3 * MB


def test_a_server_that_ignores_ranges_costs_time_and_not_the_file(bench: Bench) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults += [Fault("/cdn/*", drop_after=MB), Fault("/cdn/*", ignore_range=True)]
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert hashlib.sha256(bench.pointer(quant).read_bytes()).hexdigest() == quant.files[0].sha256


def test_the_network_may_be_gone_for_a_while(bench: Bench) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    downloads = bench.manager(patience=Patience(first=0.01, longest=0.05, attempts=1000))
    key = downloads.enqueue(quant)
    until(downloads, key, reached(MB))
    bench.hub.stop()
    item = until(downloads, key, lambda item: item.state is DownloadState.RETRYING and "refused" in (item.note or ""))
    assert (item.note or "").startswith("No answer came from 127.0.0.1")
    bench.hub.start()
    assert finished(downloads, key).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 3 * MB


def test_a_network_that_stays_away_fails_with_a_sentence_and_keeps_what_is_there(bench: Bench) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults += [Fault("/cdn/*", drop_after=MB), Fault("/owner/*", method="HEAD", status=502, times=None)]
    bench.hub.faults.reverse()
    bench.hub.faults[0].times = 0
    downloads = bench.manager()
    downloads.listen(lambda item: setattr(bench.hub.faults[0], "times", None) if item.done >= MB else None)
    item = finished(downloads, downloads.enqueue(quant))
    assert item.state is DownloadState.FAILED
    assert item.error is not None
    assert item.error.startswith("The Hub failed with status 502. It was tried 4 times;")
    assert item.done == MB
    (partial,) = bench.partials()
    assert partial.stat().st_size == MB


def test_a_wrong_checksum_deletes_the_file_and_says_so(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    bench.hub.faults.append(Fault("/cdn/*", corrupt=True))
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    item = finished(downloads, key)
    assert item.state is DownloadState.FAILED
    assert item.error is not None
    assert "its checksum differs, so it was deleted" in item.error
    assert item.done == 0
    assert [path for path in bench.cache.rglob("*") if path.is_file() and path.stat().st_size > MB] == []
    downloads.resume(key)
    assert finished(downloads, key).state is DownloadState.DONE


def test_a_small_file_is_held_against_its_git_name(bench: Bench) -> None:
    quant = bench.add(b'{"vocab": 5}', path="config.json")
    bench.hub.faults.append(Fault("*/config.json", method="GET", corrupt=True))
    downloads = bench.manager()
    assert "checksum" in (finished(downloads, downloads.enqueue(quant)).error or "")


def test_a_partial_file_of_garbage_is_found_out(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    downloads = bench.manager()
    partial = bench.cache / "models--owner--model" / "blobs" / f"{quant.files[0].sha256}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"\xff" * MB)
    assert "checksum" in (finished(downloads, downloads.enqueue(quant)).error or "")
    partial.write_bytes(b"\xff" * 3 * MB)
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE


def test_a_blob_that_something_cut_short_is_completed(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    finished(downloads, key)
    with bench.pointer(quant).open("r+b") as file:
        file.truncate(MB)
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert bench.pointer(quant).stat().st_size == 2 * MB
    assert bench.hub.bytes_sent("/cdn/*") == 3 * MB


def test_the_room_is_asked_for_before_anything_is_fetched(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    downloads = bench.manager(replace(SETTINGS, reserve=MB), free=lambda _: 5 * MB - 1)
    with pytest.raises(DiskFull, match=r"owner/model:Q4 needs 4\.0 MB more .* has 5\.0 MB free, and 1\.0 MB are kept"):
        downloads.enqueue(quant)
    assert bench.hub.requests == []
    assert downloads.items() == bench.manager().items() == ()


def test_only_what_is_missing_wants_room(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=3 * MB))
    room = [10 * MB]
    downloads = bench.manager(free=lambda _: room[0])
    key = downloads.enqueue(quant)
    until(downloads, key, reached(3 * MB))
    downloads.pause(key)
    room[0] = MB
    downloads.resume(key)
    assert finished(downloads, key).state is DownloadState.DONE


def test_room_that_another_download_will_take_is_not_promised_twice(bench: Bench) -> None:
    first, second = bench.add(Sparse(4 * MB)), bench.add(Sparse(4 * MB, seed=1), repo="owner/other")
    bench.hub.faults.append(Fault("/cdn/owner/model/*", stall_after=MB))
    downloads = bench.manager(free=lambda _: 6 * MB)
    until(downloads, downloads.enqueue(first), reached(MB))
    with pytest.raises(DiskFull, match=r"of which other downloads need 3\.0 MB"):
        downloads.enqueue(second)


def test_cancelling_keeps_what_is_here_unless_told_to_discard_it(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB, times=2))
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    until(downloads, key, reached(MB))
    downloads.cancel(key)
    assert (downloads.item(key).state, downloads.item(key).done) == (DownloadState.CANCELLED, MB)
    assert len(bench.partials()) == 1
    downloads.resume(key)
    until(downloads, key, reached(2 * MB))
    downloads.cancel(key, discard=True)
    assert (downloads.item(key).state, downloads.item(key).done) == (DownloadState.CANCELLED, 0)
    assert bench.partials() == []


def test_a_download_that_is_over_can_be_forgotten_and_what_it_brought_stays(bench: Bench) -> None:
    whole, broken = bench.add(Sparse(MB)), bench.add(Sparse(MB, seed=1), repo="owner/broken")
    bench.hub.faults.append(Fault("/cdn/owner/broken/*", status=404, times=None))
    downloads = bench.manager()
    keys = [downloads.enqueue(quant) for quant in (whole, broken)]
    assert [finished(downloads, key).state for key in keys] == [DownloadState.DONE, DownloadState.FAILED]
    for key in keys:
        downloads.forget(key)
        with pytest.raises(DownloadNotFound):
            downloads.item(key)
    assert downloads.items() == bench.manager().items() == ()
    assert bench.pointer(whole).stat().st_size == MB
    assert downloads.enqueue(whole) == keys[0]
    assert finished(downloads, keys[0]).state is DownloadState.DONE


def test_a_download_that_is_not_over_is_not_forgotten(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    downloads, other = bench.manager(), bench.manager()
    key = downloads.enqueue(quant)
    until(downloads, key, reached(MB))
    with pytest.raises(DownloadError, match="cancel it first"):
        downloads.forget(key)
    with pytest.raises(DownloadError):
        other.forget(key)
    downloads.pause(key)
    with pytest.raises(DownloadError, match="cancel it first"):
        downloads.forget(key)
    downloads.cancel(key)
    downloads.forget(key)
    assert downloads.items() == ()
    assert len(bench.partials()) == 1


def test_a_download_that_waits_tells_how_long_until_it_is_tried_again(bench: Bench) -> None:
    quant = bench.add(Sparse(MB))
    bench.hub.faults.append(Fault("/cdn/*", status=503, headers={"Retry-After": "300"}))
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    item = until(downloads, key, lambda item: item.state is DownloadState.RETRYING)
    assert item.again is not None
    assert 0.0 < item.again <= 300.0
    assert "300" not in (item.note or "")
    downloads.pause(key)
    assert downloads.item(key).again is None


def test_discarding_a_finished_download_deletes_what_it_brought_and_nothing_else(bench: Bench) -> None:
    files: dict[str, bytes | Sparse] = {"shared.json": b"{}", "a.gguf": b"a" * 100, "b.gguf": b"b" * 100}
    bench.hub.add("owner/model", files)
    whole = quant_of(bench.hub, "owner/model")
    a, b = replace(whole, label="a", files=whole.files[:2]), replace(whole, label="b", files=whole.files[::2])
    first = bench.manager()
    finished(first, first.enqueue(a))
    key = first.enqueue(b)
    finished(first, key)
    second = bench.manager()
    second.cancel(key, discard=True)
    assert not bench.pointer(whole, "b.gguf").exists()
    assert bench.pointer(whole, "a.gguf").read_bytes() == b"a" * 100
    assert bench.pointer(whole, "shared.json").read_bytes() == b"{}"
    assert len(list(bench.cache.rglob("blobs/*"))) == 2


def test_no_more_files_at_once_than_allowed_and_the_first_in_the_queue_first(bench: Bench) -> None:
    for name in "ab":
        files: dict[str, bytes | Sparse] = {f"{number}.gguf": Sparse(MB, seed=number) for number in range(4)}
        bench.hub.add(f"owner/{name}", files)
    bench.hub.faults.append(Fault("/cdn/owner/a/0.gguf", stall_after=10, times=1))
    downloads = bench.manager(replace(SETTINGS, concurrency=1))
    first = downloads.enqueue(quant_of(bench.hub, "owner/a"))
    until(downloads, first, reached(10))
    second = downloads.enqueue(quant_of(bench.hub, "owner/b"))
    assert downloads.item(second).state is DownloadState.QUEUED
    assert downloads.item(second).done == 0
    downloads.pause(first)
    assert finished(downloads, second).state is DownloadState.DONE
    downloads.resume(first)
    assert finished(downloads, first).state is DownloadState.DONE
    order = [asked.path for asked in bench.hub.requests if asked.cdn]
    assert order == ["/cdn/owner/a/0.gguf", *[f"/cdn/owner/{name}/{n}.gguf" for name in "ba" for n in range(4)]]


def test_what_waits_for_its_next_try_keeps_nobody_else_from_going_on(bench: Bench) -> None:
    for name in "ab":
        bench.hub.add(f"owner/{name}", {"0.gguf": Sparse(MB)})
    bench.hub.faults.append(Fault("/cdn/owner/a/*", status=503, headers={"Retry-After": "300"}, times=None))
    downloads = bench.manager(replace(SETTINGS, concurrency=1))
    first = downloads.enqueue(quant_of(bench.hub, "owner/a"))
    until(downloads, first, lambda item: item.state is DownloadState.RETRYING)
    second = downloads.enqueue(quant_of(bench.hub, "owner/b"))
    assert finished(downloads, second).state is DownloadState.DONE
    assert downloads.item(first).state is DownloadState.RETRYING
    downloads.cancel(first)
    assert downloads.item(first).state is DownloadState.CANCELLED


def test_the_bandwidth_is_for_all_together(bench: Bench) -> None:
    bench.hub.add("owner/a", {f"{number}.gguf": Sparse(MB // 2, seed=number) for number in range(3)})
    downloads = bench.manager(replace(SETTINGS, bandwidth=3 * MB, concurrency=3))
    began = time.monotonic()
    assert finished(downloads, downloads.enqueue(quant_of(bench.hub, "owner/a"))).state is DownloadState.DONE
    # Never less, on however fast a machine.
    assert time.monotonic() - began >= 0.5


def test_a_gated_repository_says_what_opens_it(bench: Bench) -> None:
    bench.hub.add("owner/gated", {"model.gguf": b"x" * 100}, gated=True)
    quant = quant_of(bench.hub, "owner/gated")
    downloads = bench.manager()
    error = finished(downloads, downloads.enqueue(quant)).error or ""
    assert "The owner of owner/gated wants to be asked" in error
    assert "HF_TOKEN" in error
    allowed = bench.manager(token="hf_reader")
    assert finished(allowed, allowed.enqueue(quant)).state is DownloadState.DONE
    assert all("authorization" not in asked.headers for asked in bench.hub.requests if asked.cdn)


def test_a_file_that_is_gone_says_so(bench: Bench) -> None:
    quant = bench.add(b"x" * 100)
    gone = replace(quant, files=(*quant.files, RepoFile("gone.gguf", 5)))
    downloads = bench.manager()
    assert "has no file gone.gguf" in (finished(downloads, downloads.enqueue(gone)).error or "")


def test_another_file_than_the_one_chosen_is_not_taken(bench: Bench) -> None:
    quant = bench.add(b"x" * 100)
    other = replace(quant, files=(replace(quant.files[0], sha256="0" * 64),))
    downloads = bench.manager()
    assert "has another model.gguf" in (finished(downloads, downloads.enqueue(other)).error or "")


@pytest.mark.parametrize("etag", ["../../../../escaped", "a/b", "..", "%2e%2e"])
def test_an_etag_is_no_way_out_of_the_cache(bench: Bench, etag: str) -> None:
    quant = bench.add(b"x" * 100, path="config.json")
    bench.hub.faults.append(Fault("*/config.json", headers={"ETag": f'"{etag}"'}, times=None))
    downloads = bench.manager()
    assert "does not answer as a Hub does" in (finished(downloads, downloads.enqueue(quant)).error or "")
    assert bench.outside() == []


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../../x", "/etc/x", "a\0b", "%2e%2e/x", "a/%2e%2e/x", "%2Fetc/x", "..\\x", "C:x", "a/C:/x", "",
        "a//b", "./a", "\\\\host\\x",
    ],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_cache_is_refused(bench: Bench, path: str) -> None:
    quant = bench.add(b"x" * 100)
    downloads = bench.manager()
    with pytest.raises(RequestError, match="could be written outside the cache"):
        downloads.enqueue(replace(quant, files=(*quant.files, RepoFile(path, 1))))
    assert downloads.items() == ()
    assert bench.hub.requests == []


@pytest.mark.parametrize("repo", ["../x", "a/../b", "/etc", "a/b/c", "a--b/c", "", "a/..", "a\0/b"])
def test_a_repository_that_leads_out_of_the_cache_is_refused(bench: Bench, repo: str) -> None:
    quant = bench.add(b"x" * 100)
    with pytest.raises(RequestError, match="cannot be the name of a repository"):
        bench.manager().enqueue(replace(quant, repo=repo))
    with pytest.raises(RequestError, match="is no commit"):
        bench.manager().enqueue(replace(quant, revision="../../x"))


def test_offline_nothing_is_asked(bench: Bench) -> None:
    quant = bench.add(b"x" * 100)
    downloads = Downloads(bench.state, SETTINGS, replace(bench.access(), offline=True))
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        downloads.enqueue(quant)
    assert bench.hub.requests == []


def test_an_unknown_download_is_named(bench: Bench) -> None:
    with pytest.raises(DownloadNotFound, match="nothing"):
        bench.manager().pause("nothing")


def test_progress_never_goes_back_and_ends_at_the_total(bench: Bench) -> None:
    quant = bench.add(Sparse(20 * MB))
    seen: list[DownloadItem] = []
    downloads = bench.manager()
    downloads.listen(seen.append)
    finished(downloads, downloads.enqueue(quant))
    done = [item.done for item in seen]
    assert done == sorted(done)
    assert seen[-1].state is DownloadState.DONE
    assert seen[-1].done == seen[-1].total == quant.size


def test_other_programs_wait_for_us_and_we_for_them(bench: Bench) -> None:
    from filelock import FileLock

    quant = bench.add(Sparse(2 * MB))
    path = bench.cache / ".locks" / "models--owner--model" / f"{quant.files[0].sha256}.lock"
    path.parent.mkdir(parents=True)
    downloads = bench.manager()
    with FileLock(path):
        key = downloads.enqueue(quant)
        item = until(downloads, key, lambda item: item.note is not None)
        assert item.note == "Another download fetches model.gguf; waiting for it."
        assert bench.hub.bytes_sent("/cdn/*") == 0
    assert downloads.wait(key, PATIENCE).state is DownloadState.DONE
    assert in_state(DownloadState.DONE)(downloads.item(key))
