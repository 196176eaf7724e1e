"""Which models there are, which are in memory and for how long, and deleting one."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import Pooling
from core.guide import WEIGHTS
from core.models.formats.header import Header
from core.models.formats.read import read_header
from core.settings.profile import Profile
from core.settings.schema import LibrarySettings, PoolSettings, ServerSettings, Settings
from tests.api.conftest import Served, chat_body, serving, until
from tests.api.ollama.conftest import QUICK, chat, generate, post, refused, running
from tests.fakes.bert import make_classifier, random_weights
from tests.fakes.bert_gguf import write_gguf

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A folder with a file that is a copy of the built-in model, beside the echo model, which is loaded."""
    folder = tmp_path_factory.mktemp("shelf")
    shutil.copy(WEIGHTS, folder / "Small-Model.gguf")
    settings = replace(QUICK, library=LibrarySettings(folders=(str(folder),)))
    async with serving(tmp_path_factory.mktemp("home"), settings, model="guide") as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The echo model under two names; `second` is not loaded."""
    settings = Settings(server=ServerSettings(port=0), models={"second": Profile(source="echo")})
    async with serving(tmp_path_factory.mktemp("pair"), settings) as served:
        yield served


async def tags(served: Served) -> dict[str, Any]:
    return {each["name"]: each for each in (await served.http.get("/api/tags")).json()["models"]}


async def test_tags_are_the_models_that_a_request_may_name(shelf: Served) -> None:
    there = await tags(shelf)
    assert {"guide:latest", "Small-Model:latest"} <= there.keys()
    small, guide = there["Small-Model:latest"], there["guide:latest"]
    assert small["model"] == small["name"]
    assert small["size"] == WEIGHTS.stat().st_size
    assert len(small["digest"]) == 64
    assert small["digest"] != guide["digest"]
    assert datetime.fromisoformat(small["modified_at"])
    details = small["details"]
    assert (details["format"], details["family"], details["families"]) == ("gguf", "llama", ["llama"])
    assert details["parameter_size"].endswith("M")
    assert details["quantization_level"]
    assert small["capabilities"] == ["completion"]


async def test_files_that_have_not_changed_are_not_read_again_for_the_list(
    shelf: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await tags(shelf))["Small-Model:latest"]
    reads: list[str] = []

    def read(artifact: Artifact) -> Header:
        reads.append(artifact.name)
        return read_header(artifact)

    monkeypatch.setattr("core.models.store.read_header", read)
    monkeypatch.setattr("core.models.library.file_facts.read_header", read)
    assert (await tags(shelf))["Small-Model:latest"] == before
    assert "Small-Model" not in reads


async def test_what_a_model_of_the_settings_does_is_told_before_it_was_asked(tmp_path: Path) -> None:
    vectors = write_gguf(tmp_path / "first.gguf", random_weights(), pooling=None)
    ranks = write_gguf(tmp_path / "second.gguf", random_weights() | make_classifier(), pooling="rank")
    models = {
        "vectors": Profile(source=str(vectors), pooling=Pooling.MEAN),
        "ranks": Profile(source=str(ranks)),
        "gone": Profile(source=str(tmp_path / "gone.gguf")),
    }
    async with serving(tmp_path / "home", Settings(server=ServerSettings(port=0), models=models), None) as served:
        there = await tags(served)
        assert await running(served) == {}
    assert there["vectors:latest"]["capabilities"] == ["embedding"]
    assert there["vectors:latest"]["size"] == vectors.stat().st_size
    assert there["vectors:latest"]["details"]["family"] == "bert"
    assert there["ranks:latest"]["capabilities"] == []
    assert there["gone:latest"]["size"] == 0


async def test_a_model_is_shown_without_being_loaded(shelf: Served) -> None:
    shown = await post(shelf, "/api/show", model="small-model")
    assert shown["details"]["family"] == "llama"
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["model_info"]["general.parameter_count"] > 1_000_000
    assert shown["model_info"]["llama.context_length"] > 0
    assert "{%" in shown["template"]
    assert "completion" in shown["capabilities"]
    assert "FROM Small-Model" in shown["modelfile"]
    assert "Small-Model:latest" not in await running(shelf)
    old = await post(shelf, "/api/show", name="guide", verbose=True)
    assert old["template"]
    assert "model" in await refused(shelf, "/api/show")
    assert (await refused(shelf, "/api/show", 404, model="llama3.2")).startswith("model 'llama3.2' not found")


async def test_what_a_template_has_is_what_a_model_can(caller: Served) -> None:
    assert (await post(caller, "/api/show", model="echo"))["capabilities"] == ["completion", "tools", "thinking"]


async def test_a_model_is_found_whatever_its_case_and_with_a_tag(shelf: Served) -> None:
    for name in ("Small-Model", "small-model:latest"):
        reply = await chat(shelf, model=name, options={"num_predict": 1})
        assert reply["model"] == name
    assert "Small-Model:latest" in await running(shelf)


async def test_the_models_in_memory_are_told_with_their_end(shelf: Served) -> None:
    await generate(shelf, model="guide", options={"num_predict": 1})
    guide = (await running(shelf))["guide:latest"]
    assert guide["size"] > 0
    assert guide["context_length"] > 0
    assert guide["details"]["family"] == "llama"
    # Nothing ends it, as the settings are.
    assert datetime.fromisoformat(guide["expires_at"]) > datetime.now(UTC) + timedelta(days=40_000)


async def test_what_a_model_has_of_accelerators_is_a_part_of_its_size(shelf: Served) -> None:
    await generate(shelf, model="guide", options={"num_predict": 1})
    before = (await running(shelf))["guide:latest"]
    member = next(each for each in shelf.workbench.models.members if each.name == "guide")
    member.elsewhere = {"CUDA0": 300, "CUDA1": 100}
    after = (await running(shelf))["guide:latest"]
    assert (after["size"] - before["size"], after["size_vram"] - before["size_vram"]) == (400, 400)


@pytest.mark.parametrize(("path", "empty"), [("/api/chat", {"messages": []}), ("/api/generate", {})])
async def test_without_a_question_a_model_is_loaded_kept_and_unloaded(
    pair: Served, path: str, empty: dict[str, Any]
) -> None:
    loaded = await post(pair, path, model="second", keep_alive="10m", **empty)
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    left = datetime.fromisoformat((await running(pair))["second:latest"]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=5) < left <= timedelta(minutes=10)
    await post(pair, path, model="second", keep_alive=-1, **empty)
    assert datetime.fromisoformat((await running(pair))["second:latest"]["expires_at"]).year > 2200
    assert (await post(pair, path, model="second", keep_alive=0, **empty))["done_reason"] == "unload"
    assert "second:latest" not in await running(pair)
    # Of one that is not loaded there is nothing to unload.
    assert (await post(pair, path, model="second", keep_alive="0s", **empty))["done_reason"] == "unload"
    await refused(pair, path, 404, model="nothing", keep_alive=0, **empty)


async def test_a_model_that_is_kept_for_no_time_goes_when_its_answer_has_ended(pair: Served) -> None:
    await chat(pair, model="second", keep_alive=0, options={"num_predict": 2})

    async def gone() -> bool:
        return "second:latest" not in await running(pair)

    await until(gone)
    # What a request said holds until then: the next load is the settings' again.
    await chat(pair, model="second", options={"num_predict": 1})
    assert datetime.fromisoformat((await running(pair))["second:latest"]["expires_at"]).year > 2200
    await pair.workbench.models.unload("second")


async def test_what_a_request_says_goes_before_the_settings(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0), pool=PoolSettings(model_ttl=3600))
    async with serving(tmp_path, settings) as served:
        before = datetime.fromisoformat((await running(served))["echo:latest"]["expires_at"])
        assert before < datetime.now(UTC) + timedelta(hours=1)
        await chat(served, keep_alive="-1m")
        await served.http.post("/v1/chat/completions", json=chat_body())
        assert datetime.fromisoformat((await running(served))["echo:latest"]["expires_at"]).year > 2200


async def test_a_pinned_model_is_not_unloaded_and_that_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.workbench.models.pin("echo")
        response = await served.http.post("/api/generate", json={"model": "echo", "keep_alive": 0})
        assert response.headers["x-benchtop-ignored"] == "keep_alive"
        assert "echo:latest" in await running(served)


async def delete(served: Served, **fields: Any) -> tuple[int, Any]:
    response = await served.http.request("DELETE", "/api/delete", content=json.dumps(fields))
    return response.status_code, response.json() if response.content else None


async def test_a_model_in_a_folder_of_the_library_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(WEIGHTS, folder / "gone.gguf")
    settings = replace(QUICK, library=LibrarySettings(folders=(str(folder),)))
    async with serving(tmp_path / "home", settings, model=None) as served:
        await post(served, "/api/generate", model="gone")
        assert (await delete(served, model="gone:latest"))[0] == 200
        assert not list(folder.iterdir())
        assert "gone:latest" not in await running(served)
        assert (await delete(served, model="gone"))[0] == 404


async def test_what_is_not_the_users_to_delete_is_refused(echo: Served) -> None:
    for name, status in (("guide", 400), ("echo", 400), ("nothing", 404), ("/etc/passwd", 404), ("", 400)):
        told, body = await delete(echo, model=name)
        assert told == status, body
        assert body.keys() == {"error"}
    assert WEIGHTS.exists()


async def test_a_name_as_it_is_listed_is_one_in_every_dialect(shelf: Served) -> None:
    for name in ("guide:latest", "Small-Model:latest"):
        assert (await shelf.chat(model=name, max_tokens=1)).json()["model"] == name
        asked = chat_body(model=name, max_tokens=1)
        assert (await shelf.http.post("/v1/messages", json=asked)).status_code == 200
        assert (await shelf.http.get(f"/v1/models/{name}")).json()["id"] == name.removesuffix(":latest")
    assert (await shelf.chat(model="nothing:latest")).status_code == 404
