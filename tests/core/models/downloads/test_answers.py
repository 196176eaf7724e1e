"""Answers that are not the file, or not the part that was asked for: none costs what is here."""

from __future__ import annotations

import hashlib

import pytest

from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.repository import Quant
from tests.core.models.downloads.conftest import Bench, finished
from tests.fakes.hub import Fault, Sparse

MB = 1_000_000
CLOSED = {"Content-Length": "", "Connection": "close"}
"""The end of the body is the end of the connection, so nobody knows beforehand how long it is."""


def is_right(bench: Bench, quant: Quant) -> bool:
    return hashlib.sha256(bench.pointer(quant).read_bytes()).hexdigest() == quant.files[0].sha256


@pytest.mark.parametrize("headers", [{}, CLOSED], ids=["length", "no length"])
def test_a_page_that_is_sent_in_place_of_the_rest_costs_nothing(bench: Bench, headers: dict[str, str]) -> None:
    quant = bench.add(Sparse(3 * MB))
    page = Fault("/cdn/*", ignore_range=True, shorten_to=5000, corrupt=True, headers=headers)
    bench.hub.faults += [Fault("/cdn/*", drop_after=2 * MB), page]
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert bench.hub.requests[-4].headers["range"] == f"bytes={2 * MB}-"
    assert is_right(bench, quant)


@pytest.mark.parametrize("headers", [{}, CLOSED], ids=["length", "no length"])
def test_a_page_that_is_sent_in_place_of_the_beginning_is_not_kept(bench: Bench, headers: dict[str, str]) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults.append(Fault("/cdn/*", shorten_to=5000, corrupt=True, headers=headers))
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert is_right(bench, quant)


def test_a_network_that_sends_pages_for_ever_is_given_up_and_what_is_here_kept(bench: Bench) -> None:
    quant = bench.add(Sparse(3 * MB))
    page = Fault("/cdn/*", ignore_range=True, shorten_to=5000, times=None)
    bench.hub.faults += [Fault("/cdn/*", drop_after=2 * MB), page]
    downloads = bench.manager()
    item = finished(downloads, downloads.enqueue(quant))
    assert (item.state, item.done) == (DownloadState.FAILED, 2 * MB)
    assert (item.error or "").startswith("What answered sends 5000 bytes in place of 3000000 of model.gguf")
    assert "a network that wants a login. It was tried 4 times" in (item.error or "")
    (partial,) = bench.partials()
    assert partial.stat().st_size == 2 * MB


def test_a_short_part_is_taken_as_far_as_it_goes(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults += [Fault("/cdn/*", drop_after=MB), Fault("/cdn/*", shorten_to=2 * MB)]
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert bench.hub.bytes_sent("/cdn/*") == 4 * MB


@pytest.mark.parametrize(
    "told", ["bytes 0-2999999/3000000", "bytes 1000000-3999999/4000000", "bytes 1000000-2999999/9", "1000000", ""]
)
def test_another_part_than_the_one_asked_for_is_not_taken(bench: Bench, told: str) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults += [
        Fault("/cdn/*", drop_after=MB),
        Fault("/cdn/*", corrupt=True, headers={"Content-Range": told}),
    ]
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert is_right(bench, quant)


def test_a_server_that_knows_no_ranges_is_read_past_what_is_here(bench: Bench) -> None:
    quant = bench.add(Sparse(3 * MB))
    bench.hub.faults += [
        Fault("/cdn/*", drop_after=2 * MB),
        Fault("/cdn/*", ignore_range=True, drop_after=MB),
        Fault("/cdn/*", ignore_range=True),
    ]
    seen: list[DownloadItem] = []
    downloads = bench.manager()
    downloads.listen(seen.append)
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    done = [item.done for item in seen]
    assert done == sorted(done)
    assert is_right(bench, quant)


def test_a_larger_file_in_place_of_the_one_asked_for_is_not_taken(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    larger = bench.add(Sparse(20 * MB), repo="owner/larger")
    address = f"{bench.hub.cdn_url}/cdn/owner/larger/model.gguf?commit={larger.revision}&signature=signed"
    bench.hub.faults.append(Fault("/cdn/owner/model/*", redirect=address, times=None))
    downloads = bench.manager()
    item = finished(downloads, downloads.enqueue(quant))
    assert (item.state, item.done) == (DownloadState.FAILED, 0)
    assert "sends 20000000 bytes in place of 2000000" in (item.error or "")


def test_no_more_is_written_than_the_file_has(bench: Bench) -> None:
    # Of the same beginning, so that what is taken of it is right.
    quant = bench.add(Sparse(2 * MB))
    larger = bench.add(Sparse(20 * MB), repo="owner/larger")
    address = f"{bench.hub.cdn_url}/cdn/owner/larger/model.gguf?commit={larger.revision}&signature=signed"
    bench.hub.faults += [
        Fault("/cdn/owner/model/*", redirect=address),
        Fault("/cdn/owner/larger/*", headers=CLOSED),
    ]
    downloads = bench.manager()
    assert finished(downloads, downloads.enqueue(quant)).state is DownloadState.DONE
    assert bench.pointer(quant).stat().st_size == 2 * MB
    assert [asked.path for asked in bench.hub.requests if asked.cdn and asked.sent] == ["/cdn/owner/larger/model.gguf"]
    assert is_right(bench, quant)


def test_where_the_content_cannot_be_had_the_host_that_was_asked_is_named(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    bench.hub.faults.append(Fault("/cdn/*", redirect="http://localhost:9/x?signature=s3cret", times=None))
    downloads = bench.manager()
    error = finished(downloads, downloads.enqueue(quant)).error or ""
    assert error.startswith("No answer came from localhost (")
    assert "s3cret" not in error


@pytest.mark.parametrize("where", ["/owner/*", "/cdn/*"])
def test_an_address_that_none_can_be_asked_at_is_a_sentence(bench: Bench, where: str) -> None:
    quant = bench.add(Sparse(2 * MB))
    method = "HEAD" if where == "/owner/*" else "GET"
    told = {
        "X-Linked-Size": str(2 * MB),
        "X-Linked-Etag": f'"{quant.files[0].sha256}"',
        "X-Repo-Commit": quant.revision,
    }
    bench.hub.faults.append(Fault(where, method, redirect="http://h..x/x", headers=told, times=None))
    downloads = bench.manager()
    error = finished(downloads, downloads.enqueue(quant)).error or ""
    assert "fault of benchtop" not in error
    assert "is no address of a Hub" in error
