"""The workbench's own endpoints."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import openai
import pytest
from msgspec.structs import replace

import core.guide
from api.native.cache import report_cache
from api.native.health import judge_health
from api.native.queue import sum_queue
from core.reuse import CacheStats
from core.settings.model import ModelSettings
from core.snapshots import (
    Absent,
    LoadFailure,
    MachineSnapshot,
    ModelSnapshot,
    ModelState,
    PoolSnapshot,
    QueueStats,
    Snapshot,
)
from tests.api.conftest import Served, serving, settings_of, user

pytestmark = pytest.mark.asyncio(loop_scope="session")


def snapshot(*models: ModelSnapshot) -> Snapshot:
    return Snapshot(taken=1000.0, uptime=100.0, models=models, machine=MachineSnapshot(0.0, 1, 1, 1))


def model(state: ModelState, name: str = "m") -> ModelSnapshot:
    return ModelSnapshot(name=name, engine="echo", state=state)


async def test_models_are_listed_and_found_by_name(echo: Served) -> None:
    models = [card async for card in echo.client.models.list()]
    assert models[0].id == "echo"
    assert models[0].to_dict()["state"] == "ready"
    card = await echo.client.models.retrieve("echo")
    assert card.object == "model"
    told = card.to_dict()
    assert told["context_length"] == told["max_model_len"] == 8192
    assert told["meta"] == dict.fromkeys(("n_params", "size", "n_embd", "vocab_type", "kv_type")) | {
        "n_ctx": 8192,
        "n_ctx_train": 8192,
        "n_vocab": 258,
        "kv_bytes_per_token": 4,
    }


async def test_a_model_tells_what_guesses_ahead_for_it(tmp_path: Path, echo: Served) -> None:
    settings = settings_of(model=ModelSettings(draft="prompt-lookup"))
    async with serving(tmp_path, settings) as served:
        await served.complete(messages=user("one two three one two three one two three"))
        card = (await served.http.get("/v1/models/echo")).json()
    draft = card["draft"]
    assert (draft["by"], draft["problem"]) == ("prompt-lookup", None)
    assert draft["guessed"] >= draft["kept"]
    assert draft["wasted"] == draft["guessed"] - draft["kept"]
    assert sum(each["guessed"] for each in draft["positions"]) == draft["guessed"]
    assert min(draft["seconds_lost"], draft["seconds_gained"]) >= 0


async def test_tokens_are_guessed_ahead_unless_the_settings_say_otherwise(tmp_path: Path, echo: Served) -> None:
    assert (await echo.http.get("/v1/models/echo")).json()["draft"]["by"] == "prompt-lookup"
    async with serving(tmp_path, settings_of(model=ModelSettings(draft="none"))) as served:
        assert (await served.http.get("/v1/models/echo")).json()["draft"] is None


async def test_a_model_whose_name_has_slashes_is_asked_for_by_path(echo: Served) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await echo.client.models.retrieve("owner/repo")
    assert caught.value.code == "model_not_found"
    assert "owner/repo" in caught.value.message


async def test_engines_are_listed_with_the_active_one(echo: Served) -> None:
    body = (await echo.http.get("/v1/engines")).json()
    assert body["active"] == "echo"
    rows = {row["name"]: row for row in body["engines"]}
    assert rows["echo"]["available"] is True
    assert rows["echo"].keys() == {
        "name",
        "available",
        "platform",
        "priority",
        "version",
        "reason",
        "mend",
        "keeps_prefixes",
    }


async def test_engines_are_listed_with_the_devices_the_host_first(echo: Served) -> None:
    body = (await echo.http.get("/v1/engines")).json()
    host = body["devices"][0]
    assert (host["id"], host["kind"], host["backend"]) == ("", "host", "CPU")
    assert 0 < host["memory_free"] <= host["memory_total"]
    assert {"unused_devices", "device_problems"} <= body.keys()


async def test_queue_and_cache_are_counted(echo: Served) -> None:
    before = (await echo.http.get("/v1/queue/stats")).json()
    await echo.chat()
    after = (await echo.http.get("/v1/queue/stats")).json()
    assert after["total_processed"] == before["total_processed"] + 1
    assert after["pending"] == 0
    cache = (await echo.http.get("/v1/cache/stats")).json()
    assert cache.keys() >= {"entries", "memory_mb", "hit_rate", "max_size_mb"}
    assert 0 <= cache["hit_rate"] <= 1


async def test_health_tells_engine_model_and_uptime(echo: Served) -> None:
    response = await echo.http.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body | {"uptime_seconds": 0} == {
        "status": "ok",
        "engine": "echo",
        "model": "echo",
        "uptime_seconds": 0,
        "detail": "",
        "restarts": 0,
        "last_death": "",
    }


async def test_without_a_model_health_is_unavailable(tmp_path: Path) -> None:
    async with serving(tmp_path, model=None) as served:
        response = await served.http.get("/health")
        assert response.status_code == 503
        assert response.json()["status"] == "degraded"
        assert (await served.chat(model="nothing")).status_code == 404


async def test_before_the_first_names_are_looked_up_health_is_loading_and_requests_are_to_come_again(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, model=None) as served:
        served.workbench.models.expect(("echo",))
        response = await served.http.get("/health")
        assert (response.status_code, response.json()["status"]) == (503, "loading")
        reply = await served.chat()
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_not_ready")
        assert "retry-after" in reply.headers
        await served.workbench.models.serve(("echo",))
        assert (await served.http.get("/health")).json()["status"] == "ok"
        assert (await served.chat()).status_code == 200


@pytest.mark.parametrize(
    ("states", "status", "ready"),
    [
        ([ModelState.READY], "ok", True),
        ([ModelState.LOADING], "loading", False),
        ([ModelState.READY, ModelState.LOADING], "ok", True),
        ([ModelState.RESTARTING], "degraded", False),
        ([ModelState.FAILED], "failed", False),
        ([ModelState.BROKEN], "degraded", True),
        ([ModelState.READY, ModelState.BROKEN], "degraded", True),
        ([ModelState.LOADING, ModelState.FAILED], "loading", False),
        ([ModelState.READY, ModelState.FAILED], "degraded", True),
        ([], "degraded", False),
    ],
)
async def test_health_is_the_truth_about_all_models(states: list[ModelState], status: str, ready: bool) -> None:
    health, is_ready = judge_health(snapshot(*(model(state) for state in states)), None)
    assert (health.status, is_ready) == (status, ready)


async def test_health_shows_the_default_model() -> None:
    health, _ = judge_health(snapshot(model(ModelState.READY, "a"), model(ModelState.READY, "b")), "b")
    assert health.model == "b"


@pytest.mark.parametrize(
    ("absent", "failures", "opening", "status", "ready"),
    [
        ([Absent("m", "gguf", 1)], [], [], "ok", True),
        ([Absent("m", "gguf", 1)], [], ["m"], "loading", False),
        ([], [], ["m"], "loading", False),
        ([Absent("m", "gguf", 1, problem="The file is gone.")], [], [], "failed", False),
        ([Absent("n", "gguf", 1, problem="It is gone."), Absent("m", "gguf", 1)], [], [], "degraded", True),
        ([Absent("m", "gguf", 1, problem="It is gone."), Absent("n", "gguf", 1)], [], [], "failed", False),
        ([], [LoadFailure("m", "It is damaged.", 3.0)], [], "failed", False),
    ],
)
async def test_health_is_what_a_request_for_the_default_model_would_meet(
    absent: list[Absent], failures: list[LoadFailure], opening: list[str], status: str, ready: bool
) -> None:
    pool = PoolSnapshot(absent=tuple(absent), failures=tuple(failures))
    seen = replace(snapshot(), pool=pool, opening=tuple(opening))
    health, is_ready = judge_health(seen, "m" if absent else None)
    assert (health.status, is_ready) == (status, ready)
    assert health.detail


async def test_a_default_model_that_failed_is_not_made_good_by_another() -> None:
    both = snapshot(model(ModelState.FAILED, "a"), model(ModelState.READY, "b"))
    assert judge_health(both, "a")[1] is False
    assert judge_health(both, "b")[0].status == "degraded"


async def test_a_model_whose_file_vanished_or_broke_is_told_until_it_loads_again(tmp_path: Path) -> None:
    settings = settings_of(model=ModelSettings(engine="llamacpp"))
    file = tmp_path / "tiny.gguf"
    shutil.copy(Path(core.guide.__file__).parent / "guide.gguf", file)
    async with serving(tmp_path, settings, model=None) as served:

        async def health() -> tuple[int, str]:
            answer = await served.http.get("/health")
            assert str(tmp_path) not in answer.text
            return answer.status_code, answer.json()["status"]

        await served.workbench.models.serve([str(file)])
        assert await health() == (200, "ok")
        body = file.read_bytes()
        file.unlink()
        assert await health() == (503, "failed")
        file.write_bytes(body[: len(body) // 2])
        assert (await served.chat(model="tiny")).status_code == 500
        assert await health() == (503, "failed")
        assert (await served.http.get("/v1/models/tiny")).json()["state"] == "failed"
        file.write_bytes(body)
        assert (await served.chat(model="tiny", max_tokens=1)).status_code == 200
        assert await health() == (200, "ok")


async def test_stats_are_summed_over_models() -> None:
    first = replace(
        model(ModelState.READY), queue=QueueStats(1, 2, 3, 4, 5, 6), cache=CacheStats(1, 10**6, 10**7, 4, 1)
    )
    both = snapshot(first, first)
    assert sum_queue(both) == QueueStats(2, 4, 6, 8, 10, 12)
    cache = report_cache(both)
    assert (cache.entries, cache.memory_mb, cache.max_size_mb, cache.hit_rate) == (2, 2.0, 20.0, 0.25)


async def test_the_cache_tells_of_each_tier_and_of_what_was_lost(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        words = {"content": "the same words again, and enough of them to be worth keeping"}
        for _ in range(2):
            await served.chat(messages=[{"role": "user", **words}])
        cache = (await served.http.get("/v1/cache/stats")).json()
        assert cache["resident"]["reused_tokens"] == cache["cached_tokens"] > 0
        assert cache["lost_tokens"]["first_seen"] > 0
        assert cache["lost_tokens"]["evicted"] == 0
        assert cache["memory"]["max_size_mb"] == 2048
        assert cache["disk"]["problem"] is None


async def test_a_request_that_has_ended_tells_why_it_computed_its_prompt(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        one = {"role": "user", "content": "one question that is long enough to be kept here"}
        for name, system in (("first", "be brief and be right in all you say"), ("second", "be long and be wrong")):
            await served.http.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "system", "content": system}, one]},
                headers={"x-request-id": name},
            )
        first = (await served.http.get("/v1/requests/first")).json()
        assert (first["state"], first["reuse"]["cause"], first["reuse"]["departure"]) == ("ended", "first_seen", None)
        reuse = (await served.http.get("/v1/requests/second")).json()["reuse"]
        assert (reuse["cause"], reuse["tier"]) == ("system_changed", "resident")
        departure = reuse["departure"]
        assert departure["token"] == reuse["tokens"]
        assert (departure["known"][:5], departure["asked"][:4]) == ("brief", "long")
        assert (await served.http.get("/v1/requests/third")).status_code == 404


async def test_a_salt_divides_the_cache(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        async def cached(**fields: object) -> int:
            told = (await served.chat(**fields)).json()["usage"]["prompt_tokens_details"]
            return int(told["cached_tokens"])

        assert await cached() == 0
        assert await cached() > 0
        assert await cached(cache_salt="mine") == 0
        assert await cached(cache_salt="mine") > 0


async def test_the_openapi_document_describes_requests_and_replies(echo: Served) -> None:
    document = (await echo.http.get("/schema/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    post = document["paths"]["/v1/chat/completions"]["post"]
    asked = post["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][asked["$ref"].rpartition("/")[2]]
    assert schema["required"] == ["messages"]
    assert post["responses"]["200"]["content"].keys() == {"application/json", "text/event-stream"}
    assert {"/v1/models", "/v1/engines", "/v1/queue/stats", "/v1/cache/stats", "/health"} <= document["paths"].keys()


async def test_totals_never_go_back_whatever_becomes_of_a_model(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        before: dict[str, int] = {}

        async def grown() -> dict[str, int]:
            """The totals now; fails where one of them is less than it was."""
            queue = (await served.http.get("/v1/queue/stats")).json()
            cache = (await served.http.get("/v1/cache/stats")).json()
            now = {key: value for key, value in queue.items() if key.startswith("total")}
            now |= {key: cache[key] for key in ("lookups", "hits", "prompt_tokens", "cached_tokens", "evictions")}
            assert all(now[key] >= before.get(key, 0) for key in now), (before, now)
            before.update(now)
            return now

        for _ in range(2):
            await served.complete(messages=user("the same again"))
        asked = await grown()
        assert asked["total_processed"] == asked["lookups"] == 2
        assert (await served.http.post("/v1/models/unload", json={"model": "echo"})).status_code == 200
        assert await grown() == asked
        assert (await served.http.post("/v1/models/load", json={"model": "echo"})).status_code == 200
        assert await grown() == asked
        await served.complete(messages=user("the same again"))
        assert (await grown())["total_processed"] == 3


async def test_a_clock_that_is_set_back_does_not_change_for_how_long_the_server_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as served:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert served.workbench.snapshot().uptime > 0
        assert (await served.http.get("/health")).json()["uptime_seconds"] >= 0
