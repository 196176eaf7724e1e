"""GET /v1/usage."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.settings.schema import ServerSettings, Settings
from core.settings.usage import UsageSettings
from tests.api.conftest import Served, chat_body, serving, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALICE, BOB, ROOT = ({"x-api-key": key} for key in ("alices", "bobs", "root"))
KEYS = """
[alice]
key = "alices"
tokens_per_day = 10
[bob]
key = "bobs"
"""


def settings_with_keys(path: Path) -> Settings:
    file = path / "keys.toml"
    file.write_text(KEYS)
    file.chmod(0o600)
    return settings_of(ServerSettings(port=0, api_keys=("root",), api_key_file=str(file)))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def used(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server that Alice asked once, Bob twice."""
    path = tmp_path_factory.mktemp("used")
    async with serving(path, settings_with_keys(path)) as served:
        for headers in (ALICE, BOB, BOB):
            answer = await served.http.post("/v1/chat/completions", json=chat_body(), headers=headers)
            assert answer.status_code == 200
        yield served


async def ask(served: Served, headers: dict[str, str], **parameters: str) -> Any:
    answer = await served.http.get("/v1/usage", params=parameters, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_admins_key_is_told_what_all_have_used(used: Served) -> None:
    told = await ask(used, ROOT)
    assert [(row["key"], row["model"], row["requests"]) for row in told["rows"]] == [
        ("alice", "echo", 1),
        ("bob", "echo", 2),
    ]
    assert told["total"]["requests"] == 3
    assert told["total"]["completion_tokens"] > 0
    assert told["zone"].startswith("UTC")
    assert told["since"] is None


async def test_any_other_key_is_told_its_own_alone(used: Served) -> None:
    for headers, requests in ((ALICE, 1), (BOB, 2)):
        told = await ask(used, headers, by="model", since="today")
        assert [(row["model"], row["requests"]) for row in told["rows"]] == [("echo", requests)]
        assert told["rows"][0]["key"] is None


async def test_csv_is_had_by_a_parameter_and_by_the_header(used: Served) -> None:
    by_parameter = await used.http.get("/v1/usage", params={"by": "key", "format": "csv"}, headers=ROOT)
    by_header = await used.http.get("/v1/usage", params={"by": "key"}, headers=ROOT | {"Accept": "text/csv"})
    assert by_parameter.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_parameter.text == by_header.text
    assert [row["key"] for row in csv.DictReader(by_parameter.text.splitlines())] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("parameters", "named"), [({"by": "week"}, "by"), ({"since": "soon"}, "since"), ({"format": "xml"}, "format")]
)
async def test_a_wrong_parameter_is_named(used: Served, parameters: dict[str, str], named: str) -> None:
    answer = await used.http.get("/v1/usage", params=parameters, headers=ROOT)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == named


async def test_a_server_that_keeps_no_account_says_so(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0), usage=UsageSettings(enabled=False))
    async with serving(tmp_path, settings) as served:
        answer = await served.http.get("/v1/usage")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "no_usage_kept"


async def test_tokens_of_a_day_count_over_a_restart(tmp_path: Path) -> None:
    for status in (200, 429):
        async with serving(tmp_path, settings_with_keys(tmp_path)) as served:
            answer = await served.http.post("/v1/chat/completions", json=chat_body(), headers=ALICE)
            assert answer.status_code == status
