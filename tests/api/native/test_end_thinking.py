"""POST /v1/requests/{id}/end_thinking: a model that has thought enough answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.engines.registry import Engines
from core.settings.model import ModelSettings
from tests.api.conftest import Served, chat_body, serving, settings_of, until, user
from tests.fakes.brooding import ANSWER

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_thought_under_way_is_ended_and_answered(tmp_path: Path) -> None:
    engines = Engines({"echo": "tests.fakes.brooding:BroodingEngine"})
    settings = settings_of(model=ModelSettings(ctx_size=200_000, slots=2, draft="none", reasoning_message=" Enough."))
    async with serving(tmp_path, settings, engines=engines) as served:
        asked = asyncio.create_task(served.chat(messages=user("x")))
        found: list[str] = []

        async def begun() -> bool:
            rows = (await served.http.get("/v1/requests")).json()["requests"]
            found[:] = [row["id"] for row in rows if row["completion_tokens"] > 20]
            return bool(found)

        await until(begun)
        response = await served.http.post(f"/v1/requests/{found[0]}/end_thinking")
        assert response.json() == {"id": found[0], "ended": True}
        message = (await asked).json()["choices"][0]["message"]
        assert message["content"] == ANSWER
        assert message["reasoning_content"].endswith("Enough.")
        assert (await served.http.post(f"/v1/requests/{found[0]}/end_thinking")).status_code == 404


async def test_a_completion_is_told_to_end_its_thought_by_its_own_id(tmp_path: Path) -> None:
    engines = Engines({"echo": "tests.fakes.brooding:BroodingEngine"})
    settings = settings_of(model=ModelSettings(ctx_size=200_000, slots=2, draft="none"))

    async def end(served: Served, name: str) -> Any:
        body = {"id": name, "action": "reasoning_end", "model": "echo"}
        return (await served.http.post("/v1/chat/completions/control", json=body)).json()

    async with serving(tmp_path, settings, engines=engines) as served:
        body: Any = chat_body(messages=user("x"), stream=True, extra_body={"reasoning_control": True})
        stream = await served.client.chat.completions.create(**body)
        said, told = "", False
        async for chunk in stream:
            if not told and (chunk.choices[0].delta.model_extra or {}).get("reasoning_content"):
                told = True
                assert await end(served, chunk.id) == {"success": True}
            said += chunk.choices[0].delta.content or ""
            name = chunk.id
        assert said == ANSWER
        over = {"success": False, "message": "no active completion for this id"}
        assert await end(served, name) == over
        assert await end(served, "chatcmpl-none") == over


async def test_only_a_request_that_thinks_can_be_hurried(echo: Served) -> None:
    response = await echo.http.post("/v1/requests/none/end_thinking")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "request_not_found")
    assert (await echo.http.post("/v1/requests/none")).status_code == 404
