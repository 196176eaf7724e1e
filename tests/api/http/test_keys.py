"""Several keys, and what each of them may."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.http.keys import KeyRing, find_key
from core.settings.keys import list_keys
from core.settings.schema import ServerSettings
from tests.api.conftest import Served, chat_body, serving, settings_of, user
from tests.api.openai.responses.test_socket import opened, receive, receive_all, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEYS = """
[alice]
key = "alices key"
models = ["echo"]
priority = "batch"
[bob]
key = "bobs key"
models = ["other"]
[carol]
key = "carols key"
metrics = true
"""
ALICE = {"x-api-key": "alices key"}
BOB = {"x-api-key": "bobs key"}
CAROL = {"x-api-key": "carols key"}
ROOT = {"x-api-key": "root"}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server with a key of the settings and three of a file."""
    path = tmp_path_factory.mktemp("keyed")
    file = path / "keys.toml"
    file.write_text(KEYS)
    file.chmod(0o600)
    async with serving(path, settings_of(ServerSettings(port=0, api_keys=("root",), api_key_file=str(file)))) as served:
        yield served


def find_tenant(ring: KeyRing, key: bytes) -> str:
    caller = ring.identify(key)
    assert caller is not None
    return caller.tenant


async def test_tenants_differ_by_key_and_do_not_hold_it() -> None:
    without = KeyRing(())
    assert find_tenant(without, b"") == ""
    tenants = {find_tenant(without, key) for key in (b"one", b"two")}
    assert len(tenants) == 2
    assert not any(part in tenant for tenant in tenants for part in ("one", "two"))


async def test_a_key_stands_for_the_same_tenant_whether_the_server_asks_for_one_or_not() -> None:
    asking = KeyRing(list_keys(ServerSettings(api_keys=("one",))))
    assert find_tenant(asking, b"one") == find_tenant(KeyRing(()), b"one")


async def test_who_shows_a_wrong_key_is_nobody() -> None:
    ring = KeyRing(list_keys(ServerSettings(api_keys=("one",))))
    assert ring.identify(b"two") is None
    assert ring.identify(b"") is None


async def test_a_bearer_token_goes_before_the_other_header() -> None:
    assert find_key({b"authorization": b"Bearer a", b"x-api-key": b"b"}) == b"a"
    assert find_key({b"authorization": b"Basic eA==", b"x-api-key": b"k"}) == b"k"


async def test_each_of_several_keys_opens_the_server(keyed: Served) -> None:
    for headers in (ALICE, BOB, ROOT):
        assert (await keyed.http.get("/v1/models", headers=headers)).status_code == 200
    for wrong in ("alices", "alices key ", "alices keys", "key 1", "alice"):
        answer = await keyed.http.get("/v1/models", headers={"Authorization": f"Bearer {wrong}x"})
        assert answer.status_code == 401


async def test_a_refusal_is_the_same_for_all_wrong_keys(keyed: Served) -> None:
    told = {(await keyed.http.get("/v1/models", headers={"x-api-key": key})).text for key in ("alices kex", "?")}
    assert len(told) == 1


async def test_a_key_uses_the_models_that_it_is_for_and_is_told_of_no_other(keyed: Served) -> None:
    async def ask(headers: dict[str, str], **fields: object) -> Any:
        return await keyed.http.post("/v1/chat/completions", json=chat_body(**fields), headers=headers)

    assert (await ask(ALICE)).status_code == 200
    refused = await ask(BOB)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "model_not_allowed"
    assert "it is for other" in refused.json()["error"]["message"]
    for body in ({"model": "echo", "content": "x"}, {"content": "x"}):
        assert (await keyed.http.post("/tokenize", json=body, headers=BOB)).status_code in (400, 403)
        assert (await keyed.http.post("/tokenize", json=body, headers=ALICE)).status_code == 200
    assert (await keyed.http.get("/props?model=echo", headers=BOB)).status_code == 403
    listed = {
        name: [card["id"] for card in (await keyed.http.get("/v1/models", headers=headers)).json()["data"]]
        for name, headers in (("alice", ALICE), ("bob", BOB), ("root", ROOT))
    }
    assert listed["alice"] == ["echo"]
    assert listed["bob"] == []
    assert {"echo", "guide"} <= {*listed["root"]}
    assert (await keyed.http.get("/v1/models/echo", headers=BOB)).status_code == 404


async def test_a_request_without_a_model_gets_one_that_its_key_is_for(keyed: Served) -> None:
    body = chat_body()
    del body["model"]
    answer = await keyed.http.post("/v1/chat/completions", json=body, headers=ALICE)
    assert answer.json()["model"] == "echo"
    refused = await keyed.http.post("/v1/chat/completions", json=body, headers=BOB)
    assert refused.status_code == 400
    assert "this API key is for other" in refused.json()["error"]["message"]


async def test_what_a_key_may_use_holds_over_websockets_too(keyed: Served) -> None:
    async with opened(keyed, **BOB) as socket:
        await send(socket, input="x", model="echo")
        event = await receive(socket)
        assert event["type"] == "error"
        assert event["error"]["code"] == "model_not_allowed"


async def test_the_board_shows_the_name_of_a_key_and_the_priority_that_it_may_ask(keyed: Served) -> None:
    headers = {**ALICE, "x-request-id": "alices"}
    body = chat_body(stream=True, priority="interactive")
    answer = await keyed.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    row = (await keyed.http.get("/v1/requests/alices", headers=ROOT)).json()
    assert (row["key"], row["priority"]) == ("alice", "batch")
    assert "alices key" not in str(row)


async def test_the_log_tells_the_name_of_a_key_and_neither_the_key_nor_what_was_asked(
    keyed: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        for path in ("/v1/chat/completions", "/v1/messages"):
            body = chat_body(messages=user("my private question"), max_tokens=8)
            for headers in (ALICE, BOB, {"x-api-key": "some wrong key"}):
                await keyed.http.post(f"{path}?key=alices+key", json=body, headers=headers)
        async with opened(keyed, **ALICE) as socket:
            await send(socket, input="my private question", model="echo")
            await receive_all(socket)
    ours = [record for record in caplog.records if record.name.partition(".")[0] in ("api", "core")]
    told = "\n".join(f"{record.getMessage()} {vars(record).get('fields', '')}" for record in ours)
    assert "'key': 'alice'" in told
    for secret in ("alices", "bobs", "wrong key", "private"):
        assert secret not in told


async def test_what_a_key_may_do_holds_for_ollamas_clients_too(keyed: Served) -> None:
    async def ask(path: str, headers: dict[str, str], **fields: object) -> httpx.Response:
        return await keyed.http.post(path, json={"stream": False, **fields}, headers=headers)

    chat = {"model": "echo:latest", "messages": user("x")}
    assert (await ask("/api/chat", ALICE, **chat)).status_code == 200
    for path, fields in (("/api/chat", chat), ("/api/show", {"model": "echo"}), ("/api/generate", {"model": "echo"})):
        assert (await ask(path, BOB, **fields)).status_code == 403
    for path in ("/api/tags", "/api/ps"):
        listed = {
            name: {each["name"] for each in (await keyed.http.get(path, headers=headers)).json()["models"]}
            for name, headers in (("alice", ALICE), ("bob", BOB), ("root", ROOT))
        }
        assert (listed["alice"], listed["bob"]) == ({"echo:latest"}, set())
        assert "echo:latest" in listed["root"]
    assert (await ask("/api/pull", ALICE, model="qwen")).status_code == 403
    assert (await ask("/api/generate", ALICE, model="echo", keep_alive=0)).status_code == 403
    stays = await ask("/api/chat", ALICE, **chat, keep_alive="5m")
    assert stays.headers["x-benchtop-ignored"] == "keep_alive"
    body = json.dumps({"model": "echo"}).encode()
    assert (await keyed.http.request("DELETE", "/api/delete", content=body, headers=ALICE)).status_code == 403


@pytest.mark.parametrize("path", ["/metrics", "/v1/queue/stats", "/v1/cache/stats"])
async def test_sums_over_all_keys_are_for_admins_and_for_keys_that_may_see_metrics(keyed: Served, path: str) -> None:
    refused = await keyed.http.get(path, headers=ALICE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "metrics_not_allowed")
    assert "/v1/usage" in refused.json()["error"]["message"]
    for headers in (CAROL, ROOT):
        assert (await keyed.http.get(path, headers=headers)).status_code == 200


async def test_a_key_that_may_see_metrics_is_no_admins_key(keyed: Served) -> None:
    loads = await keyed.http.post("/v1/models/load", json={"model": "echo"}, headers=CAROL)
    assert (loads.status_code, loads.json()["error"]["code"]) == (403, "admin_only")
    await keyed.http.post("/v1/chat/completions", json=chat_body(), headers=ALICE)
    used = (await keyed.http.get("/v1/usage", headers=CAROL)).json()
    assert {row["key"] for row in used["rows"]} <= {"carol"}
