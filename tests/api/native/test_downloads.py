"""/v1/downloads against a Hub on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from core.models.downloads.folder_lock import FolderLock
from core.models.downloads.manager import Downloads
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.retry import Patience
from core.settings.schema import DownloadSettings
from core.workbench import Workbench
from tests.api.conftest import serving, until
from tests.fakes.hub import Fault, LoopbackHub, Sparse

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAME = "owner/model-GGUF"
MB = 1_000_000


class World:
    """A server whose downloads come from a Hub on loopback."""

    def __init__(self, hub: LoopbackHub, http: httpx.AsyncClient, workbench: Workbench) -> None:
        self.hub = hub
        self.http = http
        self.workbench = workbench

    async def add(self, model: str = f"{NAME}:Q4_K_M", status: int = 202) -> dict[str, object]:
        reply = await self.http.post("/v1/downloads", json={"model": model})
        assert reply.status_code == status, reply.text
        body: dict[str, object] = reply.json()
        return body

    async def row(self, key: object) -> dict[str, object]:
        body: dict[str, object] = (await self.http.get(f"/v1/downloads/{key}")).json()
        return body

    async def reaches(self, key: object, field: str, value: object) -> dict[str, object]:
        async def there() -> bool:
            return (await self.row(key))[field] == value

        await until(there)
        return await self.row(key)


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with LoopbackHub() as hub:
        hub.add(NAME, {"model-Q4_K_M.gguf": Sparse(4 * MB), "model-Q8_0.gguf": Sparse(8 * MB, seed=1)})
        hub.add("owner/gated", {"gated-Q4_K_M.gguf": Sparse(MB)}, gated=True)
        access = HubAccess(hub.url, tmp_path / "hub")
        async with serving(tmp_path, model=None) as served:
            served.workbench.models.store.hub = Hub(tmp_path / "headers", access)
            served.workbench.models.store.downloads = Downloads(
                tmp_path / "downloads",
                DownloadSettings(reserve=0),
                access,
                patience=Patience(first=0.01, longest=0.05, attempts=3),
            )
            yield World(hub, served.http, served.workbench)


async def test_a_model_is_downloaded_and_its_progress_told(world: World) -> None:
    row = await world.add()
    told = {"id", "model", "state", "total_bytes", "downloaded_bytes", "bytes_per_second", "eta_seconds"}
    assert row.keys() == told | {"note", "retry_in_seconds", "error"}
    assert (row["model"], row["total_bytes"]) == (f"{NAME}:Q4_K_M", 4 * MB)
    done = await world.reaches(row["id"], "state", "done")
    assert done["downloaded_bytes"] == 4 * MB
    listed = (await world.http.get("/v1/downloads")).json()
    assert listed == {"downloads": [done]}


async def test_a_download_that_is_over_is_taken_off_the_list_and_the_model_stays(world: World) -> None:
    key = (await world.add())["id"]
    await world.reaches(key, "state", "done")
    assert (await world.http.delete(f"/v1/downloads/{key}")).json()["state"] == "done"
    assert (await world.http.get("/v1/downloads")).json() == {"downloads": []}
    assert (await world.http.delete(f"/v1/downloads/{key}")).status_code == 404
    again = await world.add()
    assert again["downloaded_bytes"] == again["total_bytes"]


async def test_while_another_process_downloads_the_list_is_told_and_nothing_is_added(
    world: World, tmp_path: Path
) -> None:
    key = (await world.add())["id"]
    done = await world.reaches(key, "state", "done")
    another = FolderLock(tmp_path / "downloads")
    assert another.take()
    body = await world.add(f"{NAME}:Q8_0", status=409)
    assert (await world.http.get("/v1/downloads")).json() == {"downloads": [done]}
    another.give()
    await world.reaches((await world.add(f"{NAME}:Q8_0"))["id"], "state", "done")
    said = "Another benchtop is downloading; wait until that is done, or pause it there."
    assert body["error"] == {"message": said, "type": "invalid_request_error", "param": None, "code": "downloads_busy"}


async def test_a_download_is_paused_resumed_and_cancelled(world: World) -> None:
    world.hub.faults.append(Fault("/cdn/*Q4_K_M.gguf", method="GET", stall_after=MB, times=2))
    key = (await world.add())["id"]
    await world.reaches(key, "downloaded_bytes", MB)
    paused = (await world.http.post(f"/v1/downloads/{key}/pause")).json()
    assert (paused["state"], paused["downloaded_bytes"]) == ("paused", MB)
    resumed = await world.http.post(f"/v1/downloads/{key}/resume")
    assert resumed.status_code == 202
    await world.reaches(key, "downloaded_bytes", 2 * MB)
    cancelled = (await world.http.delete(f"/v1/downloads/{key}")).json()
    assert (cancelled["state"], cancelled["downloaded_bytes"]) == ("cancelled", 2 * MB)
    discarded = (await world.http.delete(f"/v1/downloads/{key}", params={"discard": "true"})).json()
    assert discarded["downloaded_bytes"] == 0


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nobody/nothing", 404, "repository_not_found"),
        (f"{NAME}:Q2_K", 404, "model_not_found"),
        ("guide", 404, "model_not_found"),
        ("owner/model/../../etc", 404, "model_not_found"),
    ],
)
async def test_what_cannot_be_downloaded_is_refused_with_a_sentence(
    world: World, model: str, status: int, code: str
) -> None:
    body = await world.add(model, status)
    error = body["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert error["message"].endswith(".")


async def test_a_gated_repository_fails_with_what_opens_it(world: World) -> None:
    key = (await world.add("owner/gated"))["id"]
    assert "HF_TOKEN" in str((await world.reaches(key, "state", "failed"))["error"])


async def test_a_hub_that_is_away_is_a_503(world: World) -> None:
    world.hub.stop()
    body = await world.add(status=503)
    assert "No answer came from 127.0.0.1" in str(body)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model": ""}', b'{"model": 5}', b'{"model": "a/b", "x": 1}', b"\xff"])
async def test_a_bad_body_is_a_400(world: World, body: bytes) -> None:
    assert (await world.http.post("/v1/downloads", content=body)).status_code == 400


async def test_the_openapi_document_tells_the_body(world: World) -> None:
    document = (await world.http.get("/schema/openapi.json")).json()
    told = document["paths"]["/v1/downloads"]["post"]
    assert told["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/DownloadRequest")
    assert "202" in told["responses"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_download_is_a_404(world: World, method: str) -> None:
    reply = await world.http.request(method, "/v1/downloads/nothing")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "download_not_found")
    assert (await world.http.post("/v1/downloads/nothing/pause")).status_code == 404
