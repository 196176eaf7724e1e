"""Deleting while and after downloading: nothing that another model needs, nothing that somebody fetches."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.options import LoadOptions
from core.engines.registry import Engines
from core.errors import DownloadError, DownloadsBusy
from core.guide import WEIGHTS
from core.models.downloads.status import DownloadState
from core.models.hub.cache import find_cached
from core.models.hub.hub import Hub
from core.models.hub.repository import Quant
from core.models.library.delete import delete_model, find_entry
from core.models.library.scan import Library
from core.models.store import Store
from core.names import HubName
from core.settings.schema import Settings
from tests.core.models.downloads.conftest import Bench, finished, in_state, reached, until
from tests.fakes.hub import Fault, Sparse
from tests.fakes.support import folders_in

MB = 1_000_000
GGUF = WEIGHTS.read_bytes()
GRAPHS: dict[str, bytes | Sparse] = {
    "config.json": b'{"model_type":"llama"}',
    "tokenizer.json": b"{}",
    "onnx/model_q4.onnx": Sparse(2 * MB),
    "onnx/model_fp16.onnx": Sparse(3 * MB, seed=2),
}


def quants(bench: Bench, repo: str) -> dict[str, Quant]:
    listed = Hub(bench.root / "headers", bench.access()).repository(repo)
    return {quant.label: quant for quant in listed.quants}


def library(bench: Bench) -> Library:
    return Library(cache=bench.cache, downloads=bench.state)


def remove(bench: Bench, name: str) -> int:
    shelf = library(bench)
    return delete_model(shelf, find_entry(name, shelf.scan(), shelf.cache))


def here(bench: Bench, label: str) -> bool:
    return find_cached(HubName("o/m", label), bench.cache, ["onnx"]) is not None


def test_discarding_leaves_what_another_download_of_the_commit_is_made_of(bench: Bench) -> None:
    bench.hub.add("o/m", GRAPHS)
    listed = quants(bench, "o/m")
    downloads = bench.manager()
    first, second = (downloads.enqueue(listed[label]) for label in ("onnx-q4", "onnx-fp16"))
    assert finished(downloads, first).state is finished(downloads, second).state is DownloadState.DONE
    downloads.cancel(first, discard=True)
    assert not here(bench, "onnx-q4")
    assert here(bench, "onnx-fp16")


def test_discarding_leaves_what_a_model_that_came_otherwise_is_made_of(bench: Bench) -> None:
    commit = bench.hub.add("o/m", GRAPHS)
    downloads = bench.manager()
    key = downloads.enqueue(quants(bench, "o/m")["onnx-q4"])
    finished(downloads, key)
    from huggingface_hub import hf_hub_download

    for path in ("onnx/model_fp16.onnx", "config.json"):
        hf_hub_download("o/m", path, revision=commit, cache_dir=bench.cache, endpoint=bench.hub.url)
    downloads.cancel(key, discard=True)
    assert here(bench, "onnx-fp16")
    assert not here(bench, "onnx-q4")


def test_what_was_discarded_once_is_not_taken_for_brought_a_second_time(bench: Bench) -> None:
    quant = bench.add(Sparse(2 * MB))
    first = bench.manager()
    key = first.enqueue(quant)
    finished(first, key)
    first.cancel(key, discard=True)
    from huggingface_hub import hf_hub_download

    hf_hub_download(quant.repo, "model.gguf", cache_dir=bench.cache, endpoint=bench.hub.url)
    bench.manager().cancel(key, discard=True)
    assert bench.pointer(quant).stat().st_size == 2 * MB


def test_what_another_process_fetches_is_neither_discarded_nor_deleted(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults.append(Fault("/cdn/*", stall_after=MB))
    downloads, other = bench.manager(), bench.manager()
    key = downloads.enqueue(quant)
    until(downloads, key, reached(MB))
    with pytest.raises(DownloadsBusy, match="Another benchtop is downloading owner/model:Q4"):
        other.cancel(key, discard=True)
    with pytest.raises(DownloadError, match="owner/model:Q4 is being downloaded; pause it before owner/model"):
        remove(bench, "owner/model")
    shelf = Library(cache=bench.cache)
    with pytest.raises(DownloadError, match="is being downloaded"):
        delete_model(shelf, find_entry("owner/model", shelf.scan(), shelf.cache))
    (partial,) = bench.partials()
    assert partial.stat().st_size == MB
    downloads.pause(key)
    other.cancel(key, discard=True)
    assert bench.partials() == []


def test_a_download_that_waits_to_be_tried_again_is_not_deleted(bench: Bench) -> None:
    quant = bench.add(Sparse(4 * MB))
    bench.hub.faults += [
        Fault("/cdn/*", drop_after=MB),
        Fault("/cdn/*", status=503, headers={"Retry-After": "300"}),
    ]
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    until(downloads, key, lambda item: in_state(DownloadState.RETRYING)(item) and "503" in (item.note or ""))
    with pytest.raises(DownloadError, match="pause it before"):
        remove(bench, "owner/model")
    downloads.pause(key)
    assert remove(bench, "owner/model") == MB


def test_deleting_one_model_lets_the_download_of_another_go_on(bench: Bench) -> None:
    parts = {f"m-Q8_0-0000{number}-of-00002.gguf": Sparse(4 * MB, seed=number) for number in (1, 2)}
    bench.hub.add("o/m", {"m-Q4_K_M.gguf": GGUF, **parts})
    listed = quants(bench, "o/m")
    downloads = bench.manager()
    finished(downloads, downloads.enqueue(listed["Q4_K_M"]))
    bench.hub.faults.append(Fault("/cdn/*00002-of-00002.gguf", stall_after=MB))
    key = downloads.enqueue(listed["Q8_0"])
    until(downloads, key, reached(5 * MB))
    assert remove(bench, "o/m:Q4_K_M") == len(GGUF)
    downloads.pause(key)
    downloads.resume(key)
    assert finished(downloads, key).state is DownloadState.DONE
    assert all(bench.pointer(listed["Q8_0"], path).stat().st_size == 4 * MB for path in parts)
    assert bench.hub.bytes_sent("/cdn/*Q8_0*") == 8 * MB


def test_deleting_leaves_what_a_paused_download_is_made_of(bench: Bench) -> None:
    bench.hub.add("o/m", GRAPHS)
    listed = quants(bench, "o/m")
    downloads = bench.manager()
    finished(downloads, downloads.enqueue(listed["onnx-q4"]))
    bench.hub.faults.append(Fault("/cdn/*fp16*", stall_after=MB))
    key = downloads.enqueue(listed["onnx-fp16"])
    until(downloads, key, reached(MB))
    downloads.pause(key)
    assert remove(bench, "o/m:onnx-q4") == 2 * MB
    quant = listed["onnx-fp16"]
    assert bench.pointer(quant, "config.json").is_file()
    assert len(bench.partials()) == 1
    downloads.resume(key)
    assert finished(downloads, key).state is DownloadState.DONE


def test_a_deleted_model_is_no_longer_among_the_downloads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(bench.cache))
    engines = Engines({"llamacpp": "core.engines.llamacpp.engine:LlamaCppEngine"})
    store = Store(Settings(), folders_in(bench.root), engines, LoadOptions())
    store.downloads = bench.manager()
    bench.hub.add("o/m", {"m-Q4_K_M.gguf": GGUF})
    bench.hub.add("o/other", {"m-Q4_K_M.gguf": GGUF})
    kept, gone = (store.downloads.enqueue(quants(bench, repo)["Q4_K_M"]) for repo in ("o/other", "o/m"))
    assert finished(store.downloads, gone).state is finished(store.downloads, kept).state is DownloadState.DONE
    store.delete(next(entry for entry in store.library() if entry.name == "o/m:Q4_K_M"))
    assert [item.id for item in store.downloads.items()] == [kept]
    assert [item.id for item in bench.manager().items()] == [kept]


def test_discarding_never_leaves_the_cache(bench: Bench) -> None:
    quant = bench.add(b"x" * 100)
    outside = bench.root / "precious"
    downloads = bench.manager()
    key = downloads.enqueue(quant)
    finished(downloads, key)
    outside.write_bytes(b"x" * 100)
    pointer: Path = bench.pointer(quant)
    pointer.unlink()
    pointer.symlink_to(outside)
    downloads.cancel(key, discard=True)
    assert outside.read_bytes() == b"x" * 100
    assert replace(downloads.item(key), error=None).state is DownloadState.CANCELLED
