"""GET /v1/requests/{id} tells the times of a request that has ended, also of one whose model is gone or never came."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.conftest import chat_body, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_ended_request_tells_its_times_and_what_became_of_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.http.post("/v1/chat/completions", json=chat_body(max_tokens=4), headers={"x-request-id": "one"})
        told = (await served.http.get("/v1/requests/one")).json()
        assert (told["state"], told["outcome"], told["finish_reasons"]) == ("ended", "ok", ["length"])
        assert told["endpoint"] == "/v1/chat/completions"
        assert 0 <= told["started"] <= told["first_token"] <= told["elapsed"]
        assert told["decode_seconds"] > 0
        assert told["completion_tokens"] == 4
        await served.workbench.models.unload("echo")
        again = (await served.http.get("/v1/requests/one")).json()
        assert (again["state"], again["first_token"]) == ("ended", told["first_token"])


async def test_a_request_that_found_no_model_tells_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        body = chat_body(model="nobody-has-this")
        await served.http.post("/v1/chat/completions", json=body, headers={"x-request-id": "two"})
        told = (await served.http.get("/v1/requests/two")).json()
        assert (told["state"], told["outcome"], told["started"]) == ("ended", "not_found", None)
        assert "nobody-has-this" in told["error"]
