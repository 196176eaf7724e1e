"""What a server keeps of requests over HTTP, for who asked for it; and sending it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.capture.export import ScenarioStep, make_scenario
from core.capture.legible import read_answer
from core.capture.replay import Replayer, ServerUnreachable
from core.settings.capture import CaptureSettings
from core.settings.schema import ServerSettings, Settings
from tests.api.conftest import Served, chat_body, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "a-key-of-this-test"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    settings = Settings(server=ServerSettings(port=0, api_keys=(KEY,)), capture=CaptureSettings(requests=1000, size=1))
    async with serving(tmp_path_factory.mktemp("kept"), settings) as served:
        served.http.headers["authorization"] = f"Bearer {KEY}"
        yield served


async def test_a_request_is_kept_with_its_reply_and_without_its_key(kept: Served) -> None:
    response = await kept.http.post(
        "/v1/chat/completions?x=1", json=chat_body(user=KEY), headers={"x-request-id": "whole"}
    )
    _, found = kept.workbench.captures.find("whole")
    assert (found.method, found.path, found.status) == ("POST", "/v1/chat/completions?x=1", 200)
    assert found.reply == response.content
    assert found.is_whole
    assert KEY.encode() not in found.body
    assert found.first is not None
    assert 0 < found.first <= found.seconds
    assert KEY not in str(found.headers)


async def test_a_word_in_place_of_a_key_where_none_is_asked_for_is_no_secret(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0), capture=CaptureSettings(requests=10))
    secret = "a-long-key-of-another-service"
    async with serving(tmp_path, settings) as served:
        for shown in ("x", secret):
            headers = {"authorization": f"Bearer {shown}", "x-request-id": f"shown-{len(shown)}"}
            body = chat_body(max_tokens=9, user=shown)
            await served.http.post("/v1/chat/completions", json=body, headers=headers)
        _, word = served.workbench.captures.find("shown-1")
        assert b'"max_tokens":9' in word.body
        assert b'"user":"x"' in word.body
        _, key = served.workbench.captures.find(f"shown-{len(secret)}")
        assert secret.encode() not in key.body


async def test_a_stream_is_kept_as_it_was_sent(kept: Served) -> None:
    response = await kept.http.post(
        "/v1/chat/completions", json=chat_body(stream=True), headers={"x-request-id": "stream"}
    )
    _, found = kept.workbench.captures.find("stream")
    assert found.reply == response.content
    assert found.reply_type.startswith("text/event-stream")
    assert read_answer(found) in response.request.content.decode()
    assert read_answer(found)


async def test_what_was_refused_by_its_fields_is_kept_with_the_refusal(kept: Served) -> None:
    await kept.http.post("/v1/messages", json={"model": 5}, headers={"x-request-id": "refused"})
    _, found = kept.workbench.captures.find("refused")
    assert found.status == 400
    assert read_answer(found)


async def test_a_wrong_key_and_what_is_no_post_of_json_leave_nothing(kept: Served) -> None:
    wrong = {"authorization": "Bearer wrong", "x-request-id": "stranger"}
    assert (await kept.http.post("/v1/chat/completions", json=chat_body(), headers=wrong)).status_code == 401
    await kept.http.get("/v1/models", headers={"x-request-id": "looked"})
    await kept.http.post("/v1/chat/completions", content=b"{}", headers={"x-request-id": "untyped"})
    ids = {line.request_id for line in kept.workbench.captures.list_lines()}
    assert ids.isdisjoint({"stranger", "looked", "untyped"})


async def test_of_a_long_body_only_a_part_is_held(kept: Served) -> None:
    long = chat_body(messages=[{"role": "user", "content": "x" * 400_000}], max_tokens=1)
    await kept.http.post("/v1/chat/completions", json=long, headers={"x-request-id": "long"})
    _, found = kept.workbench.captures.find("long")
    assert not found.is_whole
    assert len(found.body) == 250_000
    assert found.body_bytes > 400_000


async def test_a_client_that_leaves_is_kept_with_what_it_was_sent(kept: Served) -> None:
    body = chat_body(stream=True, ignore_eos=True, max_tokens=None)
    async with kept.http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"x-request-id": "left"}
    ) as response:
        await anext(response.aiter_bytes())
    for _ in range(500):
        if any(line.request_id == "left" for line in kept.workbench.captures.list_lines()):
            break
        await asyncio.sleep(0.01)
    _, found = kept.workbench.captures.find("left")
    assert found.status == 200
    assert found.reply


async def test_a_captured_request_sent_again_answers_the_same(kept: Served) -> None:
    await kept.http.post("/v1/chat/completions", json=chat_body(), headers={"x-request-id": "again"})
    _, found = kept.workbench.captures.find("again")
    replayed = await Replayer(kept.server.url, key=KEY).send(make_scenario([found])[0])
    assert replayed.ok
    assert replayed.answer == read_answer(found)
    assert replayed.tokens
    other = await Replayer(kept.server.url, key=KEY, model="gone").send(make_scenario([found])[0])
    assert other.exchange.status == 404
    assert "gone" in other.answer


async def test_a_scenario_sends_all_of_its_requests(kept: Served) -> None:
    for name in ("step-1", "step-2", "step-3"):
        await kept.http.post("/v1/chat/completions", json=chat_body(stream=True), headers={"x-request-id": name})
    steps = make_scenario(kept.workbench.captures.find(f"step-{number}")[1] for number in (1, 2, 3))
    done = await Replayer(kept.server.url, key=KEY).run(steps, speed=0)
    assert [each.exchange.status for each in done] == [200, 200, 200]


async def test_where_nothing_answers_that_is_said() -> None:
    with pytest.raises(ServerUnreachable, match="tui --serve"):
        await Replayer("http://127.0.0.1:9").send(ScenarioStep(0.0, "/v1/chat/completions", {}))


async def test_nothing_is_kept_unasked(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.chat()
        assert not served.workbench.captures.is_on
        assert not served.workbench.captures.path.exists()
