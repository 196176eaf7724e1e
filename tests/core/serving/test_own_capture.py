"""What is asked without a server, as the chat screen asks, is kept as what a server is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.capture.exchange import CapturedRequest
from core.capture.export import make_scenario
from core.capture.legible import read_answer
from core.capture.replay import Replayer
from core.capture.ring import CaptureRing
from core.errors import BenchtopError
from core.requests import Conversation, Generation, Message, RawText, Role, SamplingWish, TextPart
from core.settings.capture import CaptureSettings
from core.settings.schema import ServerSettings, Settings
from tests.api.conftest import ENDLESS, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def kept(tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings(server=ServerSettings(port=0), model=ENDLESS, capture=CaptureSettings(requests=10, size=1))
    async with serving(tmp_path, settings) as served:
        yield served


def request_for(text: str, **fields: Any) -> Generation:
    said = (Message(Role.SYSTEM, (TextPart("be brief"),)), Message(Role.USER, (TextPart(text),)))
    return Generation("echo", Conversation(said), **fields)


def find_only(served: Served) -> CapturedRequest:
    (line,) = served.workbench.captures.list_lines()
    return served.workbench.captures.find(str(line.place))[1]


async def test_a_conversation_is_kept_with_its_answer_and_can_be_sent_to_a_server_again(kept: Served) -> None:
    sampling = SamplingWish(temperature=0.0)
    stream = await kept.workbench.requests.submit(request_for("hello", max_tokens=50, sampling=sampling))
    reply = await stream.reply()
    found = find_only(kept)
    assert (found.request_id, found.status, found.model) == (stream.request_id, 200, "echo")
    assert found.first is not None
    assert 0 < found.first <= found.seconds
    assert read_answer(found) == reply.choices[0].text == "hello"
    body = json.loads(found.body)
    assert body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    assert (body["max_tokens"], body["temperature"]) == (50, 0.0)
    assert "top_k" not in body
    replayed = await Replayer(kept.server.url).send(make_scenario([found])[0])
    assert (replayed.answer, replayed.tokens) == ("hello", json.loads(found.reply)["usage"]["completion_tokens"])


async def test_what_was_stopped_is_kept_as_far_as_it_came(kept: Served) -> None:
    stream = await kept.workbench.requests.submit(request_for("hello", ignore_eos=True))
    async for _ in stream:
        stream.cancel()
    answer = json.loads(find_only(kept).reply)["choices"][0]
    assert answer["message"]["content"].startswith("h")
    assert answer["finish_reason"] is None


async def test_what_is_long_is_kept_within_the_bounds_of_the_ring(
    kept: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CaptureRing, "most_bytes", 64)
    await (await kept.workbench.requests.submit(request_for("ä" * 200))).reply()
    found = find_only(kept)
    assert len(found.reply) == len(found.body) == 64
    # Of 200 letters of two bytes, 64 were held.
    assert found.reply_bytes > 2 * 136 + 64
    assert not found.is_whole


async def test_what_comes_over_a_connection_and_what_is_no_conversation_are_not_kept_here(kept: Served) -> None:
    await kept.complete()
    await (await kept.workbench.requests.submit(Generation("echo", RawText("hello")))).reply()
    assert find_only(kept).headers["user-agent"] != "benchtop"


async def test_nothing_is_kept_unless_the_user_asked_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await (await served.workbench.requests.submit(request_for("hello"))).reply()
        assert served.workbench.captures.list_lines() == []


async def test_a_failure_is_kept_with_its_words(kept: Served) -> None:
    stream = await kept.workbench.requests.submit(request_for("hello", ignore_eos=True))
    await stream.admitted()
    await kept.workbench.models.unload("echo")
    with pytest.raises(BenchtopError) as failed:
        await stream.reply()
    found = find_only(kept)
    assert (found.status, read_answer(found)) == (0, str(failed.value))
