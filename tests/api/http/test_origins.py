"""Pages of this machine and of others, and what their browsers are told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api.http.origins import may_read
from core.settings.load import load_settings
from core.settings.schema import ServerSettings
from tests.api.conftest import Served, chat_body, serving, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOCAL = ["http://localhost", "http://localhost:3000", "https://localhost:5173", "http://127.0.0.1:8000"]
LOCAL += ["http://[::1]:3000", "https://127.0.0.2"]
STRANGE = ["http://localhost.evil.example", "http://localhost:3000.evil.example", "http://evil.example", "null"]
STRANGE += [
    "http://localhost:x",
    "http://a@localhost",
    "http://localhost/",
    "http://0.0.0.0:3000",
    "localhost",
    "http://",
]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    settings = settings_of(ServerSettings(port=0, api_keys=("k",), cors_origins=("localhost",)))
    async with serving(tmp_path_factory.mktemp("local"), settings) as served:
        yield served


@pytest.mark.parametrize("origin", LOCAL)
async def test_a_page_of_this_machine_may_call_and_read_whatever_its_port(local: Served, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    before = await local.http.options("/v1/chat/completions", headers=asked)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == origin
    assert "POST" in before.headers["access-control-allow-methods"]
    assert before.headers["access-control-allow-headers"] == "x-api-key"
    assert "access-control-allow-private-network" not in before.headers
    for key, status in (("k", 200), ("wrong", 401)):
        answer = await local.http.post(
            "/v1/chat/completions", json=chat_body(), headers={"Origin": origin, "x-api-key": key}
        )
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == origin
        assert "origin" in answer.headers["vary"]
        exposed = answer.headers["access-control-expose-headers"]
        assert all(name in exposed for name in ("x-request-id", "retry-after", "x-benchtop-ignored"))
        assert not any("credentials" in name for name in answer.headers)


async def test_a_page_that_calls_a_machine_behind_the_web_is_told_that_it_may(local: Served) -> None:
    asked = {"Origin": LOCAL[1], "Access-Control-Request-Method": "GET"}
    asked["Access-Control-Request-Private-Network"] = "true"
    answer = await local.http.options("/v1/models", headers=asked)
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", STRANGE)
async def test_no_other_page_counts_as_one_of_this_machine(local: Served, origin: str) -> None:
    assert not may_read(origin, ("localhost",))
    answer = await local.http.get("/v1/models", headers={"Origin": origin, "x-api-key": "k"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.status_code == 403


async def test_a_preflight_for_another_host_is_refused(local: Served) -> None:
    asked = {"Origin": LOCAL[1], "Access-Control-Request-Method": "GET", "Host": "evil.example"}
    assert (await local.http.options("/v1/models", headers=asked)).status_code == 403


async def test_own_headers_of_an_answer_may_be_read(local: Served) -> None:
    answer = await local.http.post(
        "/v1/chat/completions",
        json=chat_body(user="ann"),
        headers={"Origin": LOCAL[1], "x-api-key": "k"},
    )
    own = [name for name in answer.headers if name.startswith("x-benchtop-")]
    assert all(name in answer.headers["access-control-expose-headers"] for name in own)


async def test_localhost_may_be_set_as_any_origin_is() -> None:
    for given in ({"BENCHTOP_SERVER_CORS_ORIGINS": "localhost,https://a.example"},):
        assert load_settings(environment=given).server.cors_origins == ("localhost", "https://a.example")
