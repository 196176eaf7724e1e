"""Clients name a model of the server's folders as its screen does, and learn nothing of where it lies."""

from pathlib import Path

import pytest

from core.errors import ModelNotAllowed
from core.guide import WEIGHTS
from core.requests import Caller
from core.settings.model import ModelSettings
from core.settings.schema import (
    BenchSettings,
    LibrarySettings,
    PoolSettings,
    ProbeSettings,
    RouteSettings,
    ServerSettings,
    Settings,
)
from tests.api.conftest import Served, serving, user
from tests.fakes.support import asks

pytestmark = pytest.mark.asyncio(loop_scope="session")


def settings(folder: Path, pool: PoolSettings = PoolSettings()) -> Settings:
    return Settings(
        server=ServerSettings(port=0),
        model=ModelSettings(engine="llamacpp", ctx_size=256, slots=1, threads=1),
        library=LibrarySettings(folders=(str(folder),)),
        bench=BenchSettings(enabled=False),
        probe=ProbeSettings(enabled=False),
        pool=pool,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ("mine.gguf", "twice.gguf", "deeper/twice.gguf"):
        (tmp_path / "some models" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "some models" / path).write_bytes(WEIGHTS.read_bytes())
    return tmp_path / "some models"


async def test_a_request_names_a_model_of_the_folders_by_its_short_name(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path / "served", settings(folder), model=None) as served:
        answer = await served.complete(model="mine", max_tokens=4)
        assert answer.model == "mine"


async def test_a_name_that_two_models_have_is_refused_without_their_folders(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path / "served", settings(folder), model=None) as served:
        answer = await served.chat(model="twice")
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        assert "twice is what 2 models here are called" in message
        assert "some models" not in message


async def test_nothing_is_looked_for_where_models_are_not_loaded_on_demand(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path / "served", settings(folder, PoolSettings(on_demand=False)), model=None) as served:
        assert (await served.chat(model="mine")).status_code == 404


async def test_one_model_stands_in_for_those_that_are_not_here_where_its_user_wants_that(tmp_path: Path) -> None:
    standing = Settings(server=ServerSettings(port=0), route=RouteSettings(stand_in="echo"))
    async with serving(tmp_path, standing) as served:
        answer = await served.complete(model="gpt-3.5-turbo", messages=user("hi"))
        assert (answer.choices[0].message.content, answer.model) == ("hi", "gpt-3.5-turbo")
        assert (await served.http.post("/tokenize", json={"model": "other", "content": "hi"})).json()["count"] == 2
        # A key that is for others may not use it by this way.
        with pytest.raises(ModelNotAllowed, match="echo"):
            await served.workbench.requests.submit(asks("hi", "gpt-4", caller=Caller(models=("gpt-*",))))


async def listed(served: Served) -> dict[str, str]:
    return {card["id"]: card["state"] for card in (await served.http.get("/v1/models")).json()["data"]}


async def test_what_a_request_would_load_is_listed_and_nothing_else(tmp_path: Path, folder: Path) -> None:
    (folder / "broken.gguf").write_bytes(b"GGUF and nothing more")
    async with serving(tmp_path / "served", settings(folder), model="guide") as served:
        there = await listed(served)
        assert (there["guide"], there["mine"]) == ("ready", "unloaded")
        assert "echo" not in there, "the engine that was chosen does not run it"
        assert "twice" not in there
        assert "broken" not in there
        assert not any("/" in name or "some models" in name for name in there)
        card = (await served.http.get("/v1/models/mine")).json()
        assert card["state"] == "unloaded"
        assert card["meta"]["size"] == len(WEIGHTS.read_bytes())
        assert card["max_model_len"] is None
        for name, state in there.items():
            if state == "unloaded":
                assert (await served.chat(model=name, max_tokens=1)).status_code == 200
        assert (await listed(served))["mine"] == "ready"


async def test_what_is_not_loaded_on_demand_is_not_listed(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path / "served", settings(folder, PoolSettings(on_demand=False)), model="guide") as served:
        assert await listed(served) == {"guide": "ready"}
        assert (await served.http.get("/v1/models/mine")).status_code == 404
