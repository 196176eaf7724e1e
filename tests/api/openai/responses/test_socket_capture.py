"""What is asked over a WebSocket is kept message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.capture.exchange import SOCKET_METHOD, CapturedRequest
from core.capture.export import make_scenario
from core.capture.legible import read_answer
from core.capture.replay import Replayer, count_answer_tokens
from core.errors import UsageError
from core.settings.capture import CaptureSettings
from core.settings.schema import ServerSettings, Settings
from tests.api.conftest import Served, serving
from tests.api.openai.responses.test_socket import fault, opened, receive, send, turn

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "a-key-of-this-test"


@pytest_asyncio.fixture(loop_scope="session")
async def kept(tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings(server=ServerSettings(port=0, api_keys=(KEY,)), capture=CaptureSettings(requests=10, size=1))
    async with serving(tmp_path, settings) as served:
        yield served


async def list_kept(served: Served, count: int) -> list[CapturedRequest]:
    """In the order in which they ended, when so many are there: a client may know of an end before it is kept."""
    ring = served.workbench.captures
    while len(lines := await asyncio.to_thread(ring.list_lines)) < count:
        await asyncio.sleep(0.005)
    return [ring.find(str(line.place))[1] for line in reversed(lines)]


async def test_each_message_is_kept_with_its_events_and_can_be_asked_over_http(kept: Served) -> None:
    async with opened(kept, authorization=f"Bearer {KEY}") as socket:
        responses = [await turn(socket, input=text, user=KEY, stream_id="one") for text in ("first", "second")]
        first, second = await list_kept(kept, 2)
    for found, response, text in zip((first, second), responses, ("first", "second"), strict=True):
        assert (found.method, found.path, found.status, found.model) == (SOCKET_METHOD, "/v1/responses", 200, "echo")
        assert read_answer(found) == text
        assert found.first is not None
        assert KEY.encode() not in found.body + found.reply
        assert count_answer_tokens(found) == response["usage"]["output_tokens"]
    steps = make_scenario([first, second])
    assert steps[0].body.keys() == {"model", "input", "user", "stream"}
    replayed = await Replayer(kept.server.url, key=KEY).send(steps[1])
    assert (replayed.ok, replayed.answer) == (True, "second")


async def test_what_is_refused_is_kept_with_the_refusal(kept: Served) -> None:
    async with opened(kept, authorization=f"Bearer {KEY}") as socket:
        refused = [await fault(socket, temperature=5), await fault(socket, model="nowhere")]
        found = await list_kept(kept, 2)
    assert [each.status for each in found] == [each["status"] for each in refused] == [400, 404]
    assert [read_answer(each) for each in found] == [each["error"]["message"] for each in refused]


async def test_what_a_client_left_is_kept_and_what_steers_is_no_request_of_its_own(kept: Served) -> None:
    async with opened(kept, authorization=f"Bearer {KEY}") as socket:
        await send(socket, input="x", ignore_eos=True, max_output_tokens=100_000)
        begun = await receive(socket)
        steer = {"type": "response.steer", "previous_response_id": begun["response"]["id"], "input": "more"}
        await socket.send(json.dumps(steer))
        (steering,) = await list_kept(kept, 1)
        with pytest.raises(UsageError, match="means something to its WebSocket alone"):
            make_scenario([steering])
    _, left = await list_kept(kept, 2)
    assert left.status == 200
    assert b"response.completed" not in left.reply
