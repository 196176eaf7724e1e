"""/v1/search and /v1/fit against a Hub on loopback, and the whole way from a search to an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.guide import WEIGHTS
from core.models.downloads.manager import Downloads
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.settings.schema import BenchSettings, DownloadSettings, ServerSettings, Settings
from tests.api.conftest import Served, chat_body, serving, until
from tests.fakes.hub import Fault, LoopbackHub, Sparse

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAME = "owner/guide-GGUF"


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Served, LoopbackHub]]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    weights = WEIGHTS.read_bytes()
    with LoopbackHub() as hub:
        large = Sparse(50_000_000, head=weights[: 1 << 20])
        hub.add(NAME, {"guide-F16.gguf": weights, "guide-F32.gguf": large}, downloads=500, tags=("gguf",))
        hub.add("owner/other-GGUF", {"other-Q8_0.gguf": Sparse(1_000_000)}, licence="mit")
        hub.add("owner/gated-GGUF", {"guide-Q8_0.gguf": weights}, gated=True, tags=("gguf",))
        access = HubAccess(hub.url, tmp_path / "hub")
        settings = Settings(server=ServerSettings(port=0), bench=BenchSettings(enabled=False))
        async with serving(tmp_path, settings, model=None) as served:
            served.workbench.models.store.hub = Hub(tmp_path / "headers", access)
            served.workbench.models.store.downloads = Downloads(
                tmp_path / "downloads", DownloadSettings(reserve=0), access
            )
            yield served, hub


async def test_a_model_is_found_weighed_downloaded_loaded_and_answers(world: tuple[Served, LoopbackHub]) -> None:
    served, _ = world
    found = (await served.http.get("/v1/search", params={"q": "guide", "format": "gguf"})).json()["data"]
    assert [each["id"] for each in found] == [NAME]
    assert (found[0]["downloads"], found[0]["licence"], found[0]["gated"]) == (500, "apache-2.0", False)
    weighed = (await served.http.get("/v1/fit", params={"model": NAME, "context": 1024})).json()["data"]
    assert [(each["model"], each["fit"]) for each in weighed] == [(f"{NAME}:F16", "fits"), (f"{NAME}:F32", "fits")]
    assert weighed[1]["needed_bytes"] - weighed[0]["needed_bytes"] > 40_000_000
    assert weighed[0]["context_length"] == 1024
    assert weighed[0]["largest_context"] == 2048
    key = (await served.http.post("/v1/downloads", json={"model": f"{NAME}:F16"})).json()["id"]

    async def here() -> bool:
        return str((await served.http.get(f"/v1/downloads/{key}")).json()["state"]) == "done"

    await until(here)
    answer = await served.chat(**chat_body(model=f"{NAME}:F16", max_tokens=8))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]


async def test_a_model_that_is_being_downloaded_says_so(world: tuple[Served, LoopbackHub]) -> None:
    served, hub = world
    hub.add("owner/slow-GGUF", {"slow-Q8_0.gguf": Sparse(4_000_000)})
    hub.faults.append(Fault("/cdn/*slow*", method="GET", stall_after=1_000_000, times=None))
    await served.http.post("/v1/downloads", json={"model": "owner/slow-GGUF"})
    answer = await served.chat(**chat_body(model="owner/slow-GGUF"))
    assert answer.status_code == 404
    assert "owner/slow-GGUF is being downloaded, " in answer.json()["error"]["message"]


async def test_a_larger_context_and_a_smaller_type_change_what_is_needed(world: tuple[Served, LoopbackHub]) -> None:
    served, _ = world

    async def needed(**asked: int | str) -> int:
        rows = (await served.http.get("/v1/fit", params={"model": "guide", **asked})).json()["data"]
        return int(rows[0]["needed_bytes"])

    assert await needed(context=2048) > await needed(context=512)
    assert await needed(context=2048, kv_type="q8_0") < await needed(context=2048)


async def test_a_gated_model_is_listed_without_a_verdict(world: tuple[Served, LoopbackHub]) -> None:
    served, _ = world
    (row,) = (await served.http.get("/v1/fit", params={"model": "owner/gated-GGUF"})).json()["data"]
    assert (row["model"], row["fit"], row["largest_context"]) == ("owner/gated-GGUF:Q8_0", None, None)


@pytest.mark.parametrize(
    ("path", "params", "status", "said"),
    [
        ("fit", {}, 400, "model"),
        ("fit", {"model": "/etc/passwd"}, 404, "is a path; a request names a model"),
        ("fit", {"model": "http://127.0.0.1:1"}, 404, "is an address; a request names a model"),
        ("fit", {"model": "owner/../x"}, 404, ""),
        ("fit", {"model": "owner/nothing"}, 404, "owner/nothing"),
        ("fit", {"model": "guide", "context": 3}, 400, "context must be between"),
        ("fit", {"model": "guide", "context": "many"}, 400, "context"),
        ("fit", {"model": "guide", "kv_type": "q9"}, 400, "f16, bf16"),
        ("search", {"q": "x", "format": "zip"}, 400, "gguf"),
        ("search", {"q": "x", "limit": 0}, 400, "limit must be between"),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    world: tuple[Served, LoopbackHub], path: str, params: dict[str, str | int], status: int, said: str
) -> None:
    served, _ = world
    answer = await served.http.get(f"/v1/{path}", params=params)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
