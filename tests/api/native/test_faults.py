"""What clients and /health are told while a model fails, is loaded again, cannot be, and while the cache cannot be
written."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.echo import EchoEngine, EchoModel
from core.engines.registry import Engines
from core.errors import LoadFailed
from core.serving.loops.scheduler import MOST_RESTARTS
from core.settings.schema import CacheSettings
from tests.api.conftest import Served, serving, settings_of, until, user
from tests.fakes.faults import Faults, RustPanic

pytestmark = pytest.mark.asyncio(loop_scope="session")
KNOWN = "the same words again, and enough of them to be worth keeping"


class Faulty(EchoEngine):
    """Its models fail as planned; loads wait for `proceed`, and fail with `refusal`."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        self.proceed = threading.Event()
        self.proceed.set()
        self.refusal = ""

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        self.proceed.wait()
        if self.refusal:
            raise LoadFailed(artifact.name, self.refusal)
        model = super().load(artifact, options)
        self.faults.spread(model)
        return model


def faulty() -> tuple[Engines, Faulty]:
    engines = Engines({"echo": f"{__name__}:Faulty"})
    engine = engines.get("echo")
    assert isinstance(engine, Faulty)
    return engines, engine


async def health(served: Served) -> tuple[int, str, str]:
    answer = await served.http.get("/health")
    told = answer.json()
    return answer.status_code, told["status"], told["detail"]


async def test_a_model_that_fails_is_degraded_until_it_is_loaded_again_and_warm_then(tmp_path: Path) -> None:
    engines, engine = faulty()
    async with serving(tmp_path, engines=engines) as served:
        assert (await served.chat(messages=user(KNOWN))).status_code == 200

        async def stored() -> bool:
            return bool((await served.http.get("/v1/cache/stats")).json()["memory"]["entries"])

        await until(stored)
        engine.faults.next("step", RuntimeError("a fault in native code"))
        engine.proceed.clear()
        try:
            failed = await served.chat()
            assert failed.status_code == 500
            assert "a fault in native code" in failed.json()["error"]["message"]
            status, word, detail = await health(served)
            assert (status, word) == (503, "degraded")
            assert "a fault in native code" in detail
            waiting = asyncio.create_task(served.chat(messages=user(KNOWN)))
            await asyncio.sleep(0)
        finally:
            engine.proceed.set()
        answer = (await waiting).json()
        assert answer["choices"][0]["message"]["content"] == KNOWN
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > len(KNOWN)
        assert await health(served) == (200, "ok", "")


@pytest.mark.parametrize("error", [RuntimeError("a fault in native code"), RustPanic("index out of range")])
async def test_a_model_that_cannot_be_loaded_again_is_failed_until_a_request_loads_it_anew(
    tmp_path: Path, error: BaseException
) -> None:
    engines, engine = faulty()
    async with serving(tmp_path, engines=engines) as served:
        assert (await served.chat(messages=user(KNOWN))).status_code == 200
        engine.faults.next("step", error)
        engine.refusal = "There is not enough memory for it."
        assert (await served.chat()).status_code == 500

        async def failed() -> bool:
            return (await health(served))[:2] == (503, "failed")

        await until(failed)
        if isinstance(error, Exception):
            assert "not enough memory" in (await health(served))[2]
        refused = await served.chat()
        assert refused.status_code >= 500
        assert "not enough memory" in refused.json()["error"]["message"]
        engine.refusal = ""
        assert (await served.chat(messages=user(KNOWN))).json()["choices"][0]["message"]["content"] == KNOWN
        assert await health(served) == (200, "ok", "")


async def test_a_model_that_was_given_up_is_broken_and_the_next_request_loads_it_anew(tmp_path: Path) -> None:
    engines, engine = faulty()
    async with serving(tmp_path, engines=engines) as served:
        assert (await served.chat(messages=user(KNOWN))).status_code == 200
        for _ in range(MOST_RESTARTS + 1):
            engine.faults.next("step", RuntimeError("a fault in native code"))
            assert (await served.chat()).status_code == 500

        async def broken() -> bool:
            return str((await served.http.get("/v1/models/echo")).json()["state"]) == "broken"

        await until(broken)
        status, word, detail = await health(served)
        assert (status, word) == (200, "degraded")
        assert "a fault in native code" in detail
        assert detail.endswith(". A request loads echo again.")
        assert (await served.chat(messages=user(KNOWN))).json()["choices"][0]["message"]["content"] == KNOWN
        assert await health(served) == (200, "ok", "")


async def test_a_cache_that_cannot_be_written_is_told_and_requests_are_answered(tmp_path: Path) -> None:
    folder = tmp_path / "file" / "prefixes"
    (tmp_path / "file").write_text("in the way")
    settings = replace(settings_of(), cache=CacheSettings(disk_folder=str(folder), disk_min_tokens=1))
    async with serving(tmp_path, settings) as served:
        for _ in range(2):
            answer = await served.chat(messages=user(KNOWN))
            assert answer.json()["choices"][0]["message"]["content"] == KNOWN
            # Unloading has all that is known written.
            await served.workbench.models.unload("echo")

        async def told() -> bool:
            return bool((await served.http.get("/v1/cache/stats")).json()["disk"]["problem"])

        await until(told)
        assert (await served.chat(messages=user(KNOWN))).status_code == 200
        status, word, detail = await health(served)
        assert (status, word) == (200, "ok")
        assert "Not a directory" in detail
        assert str(tmp_path) not in detail
