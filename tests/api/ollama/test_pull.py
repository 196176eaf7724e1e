"""POST /api/pull against a Hub on loopback."""

from __future__ import annotations

import json

import pytest

from api.ollama.pulling import Pulls
from core.errors import DownloadError
from tests.api.conftest import until
from tests.api.native.test_downloads import MB, NAME, World, world
from tests.fakes.hub import Fault

__all__ = ["world"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_model_of_the_hub_is_pulled_line_by_line(world: World) -> None:
    response = await world.http.post("/api/pull", json={"model": f"hf.co/{NAME}:Q4_K_M"})
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert (lines[0], lines[-1]) == ({"status": "pulling manifest"}, {"status": "success"})
    told = [line for line in lines if "total" in line]
    assert {line["total"] for line in told} == {4 * MB}
    done = [line["completed"] for line in told]
    assert done == sorted(done)
    assert done[-1] == 4 * MB
    (digest,) = {line["digest"] for line in told}
    assert told[0]["status"] == f"pulling {digest.removeprefix('sha256:')[:12]}"
    again = await world.http.post("/api/pull", json={"name": f"hf.co/{NAME}:Q4_K_M", "stream": False})
    assert again.json() == {"status": "success"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_name_of_ollamas_library_is_refused_with_what_to_do(world: World, stream: bool) -> None:
    response = await world.http.post("/api/pull", json={"model": "llama3.2:1b", "stream": stream})
    assert response.status_code == 404
    assert "hf.co/OWNER/REPOSITORY:QUANT" in response.json()["error"]
    assert (await world.http.post("/api/pull", json={"model": "owner/nothing"})).status_code == 404
    assert (await world.http.post("/api/pull", json={})).status_code == 400


async def test_a_gated_repository_ends_the_lines_with_what_opens_it(world: World) -> None:
    response = await world.http.post("/api/pull", json={"model": "owner/gated"})
    assert "HF_TOKEN" in json.loads(response.text.splitlines()[-1])["error"]


async def test_what_is_always_here_needs_no_pull(world: World) -> None:
    assert (await world.http.post("/api/pull", json={"model": "guide:latest"})).json() == {"status": "success"}


async def test_a_pull_that_fails_says_so_in_its_last_line(world: World) -> None:
    world.hub.faults.append(Fault("/cdn/*", status=500, times=None))
    response = await world.http.post("/api/pull", json={"model": f"{NAME}:Q8_0"})
    last = json.loads(response.text.splitlines()[-1])
    assert last.keys() == {"error"}
    whole = await world.http.post("/api/pull", json={"model": f"{NAME}:Q8_0", "stream": False})
    assert (whole.status_code, whole.json().keys()) == (500, {"error"})


@pytest.mark.parametrize(("others", "left"), [(False, "paused"), (True, "running")])
async def test_a_client_that_leaves_pauses_what_it_began_alone(world: World, others: bool, left: str) -> None:
    world.hub.faults.append(Fault("/cdn/*", stall_after=1000, times=None))
    if others:
        await world.add(f"{NAME}:Q8_0")
    async with world.http.stream("POST", "/api/pull", json={"model": f"{NAME}:Q8_0"}) as response:
        async for line in response.aiter_lines():
            if "total" in line:
                break

    async def settled() -> bool:
        rows = (await world.http.get("/v1/downloads")).json()["downloads"]
        return [row["state"] for row in rows] == [left]

    await until(settled)


async def test_a_download_that_another_begins_anew_is_not_paused_for_who_only_waits(world: World) -> None:
    world.hub.faults.append(Fault("/cdn/*", stall_after=1000, times=None))
    pulls, model = Pulls(world.workbench), f"{NAME}:Q8_0"
    begun = await pulls.begin(model)
    await world.http.delete(f"/v1/downloads/{begun.id}", params={"discard": "true"})
    with pytest.raises(DownloadError, match="was cancelled; pull it again to go on"):
        async for _ in pulls.follow(begun):
            pass
    assert (await world.add(model))["id"] == begun.id
    await pulls.give_up(await pulls.begin(model))
    assert (await world.row(begun.id))["state"] != "paused"
