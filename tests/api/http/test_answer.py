"""The bytes of a stream, and what becomes of it when its client goes away or nothing happens for a while."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import cast

import pytest
from litestar.types import HTTPDisconnectEvent, Message, Scope

from api.anthropic.writer import PING as MESSAGES_PING
from api.anthropic.writer import MessagesDialect
from api.http.answer import PING, HttpAnswer
from api.http.live import LiveStreams
from api.openai.chat_writer import ChatDialect
from api.openai.message_wire import ChatMessage
from api.openai.wire import ChatRequest
from core.errors import Cancelled, EngineFailed, LoadFailed
from core.events import Failed, Finished, FinishReason, Prefilled, TextDelta, Timings, Usage
from core.serving.stream import Stream
from tests.api.conftest import ENDLESS, PATIENCE, Served, chat_body, raw_request, serving, settings_of, until, user
from tests.fakes.support import show_content, show_row

pytestmark = pytest.mark.asyncio(loop_scope="session")

GOLDEN = """\
data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"echo","system_fingerprint":"FP",\
"choices":[{"index":0,"delta":{"role":"assistant","content":null},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"echo","system_fingerprint":"FP",\
"choices":[{"index":0,"delta":{"content":"h"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"echo","system_fingerprint":"FP",\
"choices":[{"index":0,"delta":{"content":"\\""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"echo","system_fingerprint":"FP",\
"choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"echo","system_fingerprint":"FP",\
"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null,"timings":{}}

data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"echo","system_fingerprint":"FP",\
"choices":[],"usage":{"prompt_tokens":23,"completion_tokens":5,"total_tokens":28,\
"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"timings":{}}

data: [DONE]

"""

STILL = [(r'"id":"[^"]*"', '"id":"ID"'), (r'"created":\d+', '"created":0')]
STILL += [(r'"system_fingerprint":"[^"]*"', '"system_fingerprint":"FP"'), (r'"timings":\{[^}]*\}', '"timings":{}')]


def still(stream: str) -> str:
    """The stream without what differs from run to run."""
    for pattern, fixed in STILL:
        stream = re.sub(pattern, fixed, stream)
    return stream


async def test_the_stream_of_a_known_answer_is_known_to_the_byte(echo: Served) -> None:
    response = await echo.chat(
        messages=user('h"é'), stream=True, stream_options={"include_usage": True}, cache_prompt=False
    )
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert still(response.content.decode()) == GOLDEN


async def running(served: Served) -> int:
    board = (await served.http.get("/v1/requests")).json()["requests"]
    return sum(row["state"] != "queued" for row in board)


async def waiting(served: Served) -> int:
    return int((await served.http.get("/v1/queue/stats")).json()["pending"])


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_a_client_that_leaves_frees_its_slot(tmp_path: Path, streamed: bool) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        _, writer = await served.raw()
        writer.write(raw_request(chat_body(ignore_eos=True, stream=streamed)))
        await until(lambda: _is(running(served), 1))
        writer.close()
        await until(lambda: _is(running(served), 0))
        assert (await served.chat()).json()["choices"][0]["message"]["content"] == "hello"


async def test_a_client_that_leaves_the_queue_leaves_no_request_behind(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        _, running_one = await served.raw()
        running_one.write(raw_request(chat_body(ignore_eos=True)))
        await until(lambda: _is(running(served), 1))
        _, queued_one = await served.raw()
        queued_one.write(raw_request(chat_body()))
        await until(lambda: _is(waiting(served), 1))
        queued_one.close()
        await until(lambda: _is(waiting(served), 0))
        assert await running(served) == 1
        running_one.close()


async def test_a_request_cancelled_from_the_board_tells_its_client_so(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        unstreamed = asyncio.create_task(served.chat(ignore_eos=True))
        await until(lambda: _is(running(served), 1))
        (row,) = (await served.http.get("/v1/requests")).json()["requests"]
        assert row["state"] in ("prefill", "decode")
        assert (await served.http.delete(f"/v1/requests/{row['id']}")).json() == {"id": row["id"], "cancelled": True}
        response = await unstreamed
        assert response.status_code == 499
        assert response.json()["error"]["code"] == "cancelled"
        assert (await served.http.delete(f"/v1/requests/{row['id']}")).status_code == 404


async def _is(counted: Awaitable[int], wanted: int) -> bool:
    return await counted == wanted


class Client:
    """Both ends of an ASGI connection, by hand."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def receive(self) -> HTTPDisconnectEvent:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.put_nowait(message)

    async def next(self) -> Message:
        return await asyncio.wait_for(self.sent.get(), PATIENCE)

    async def body(self) -> bytes:
        message = await self.next()
        assert message["type"] == "http.response.body"
        return message["body"]


def stream_of(cancelled: asyncio.Event) -> Stream:
    return Stream(
        "one", 3, 1, timeout=None, withdraw=lambda: False, cancel=cancelled.set, row=show_row, content=show_content
    )


def answer_to(stream: Stream, *, ping: float = 15.0) -> HttpAnswer:

    async def begin() -> Stream:
        return stream

    return answer_begun_by(begin, ping=ping)


def answer_begun_by(begin: Callable[[], Coroutine[object, object, Stream]], *, ping: float = 15.0) -> HttpAnswer:
    body = ChatRequest(model="echo", messages=[ChatMessage(role="user", content="x")], stream=True)
    return HttpAnswer(begin, ChatDialect(body, "FP"), LiveStreams(), streamed=True, ping=ping)


async def answered(answer: HttpAnswer, client: Client) -> None:
    """The answer never looks at its scope, so an empty one will do."""
    await answer(cast("Scope", {}), client.receive, client.send)


END = Finished(0, FinishReason.STOP, Usage(3, 0, 2), Timings())


async def test_all_that_is_ready_goes_out_in_one_write() -> None:
    client, stream = Client(), stream_of(asyncio.Event())
    stream.admit()
    stream.deliver([TextDelta(0, "a"), TextDelta(0, "b"), TextDelta(0, "c")])
    task = asyncio.create_task(answered(answer_to(stream), client))
    assert (await client.next())["type"] == "http.response.start"
    assert (await client.body()).count(b"data: ") == 4
    stream.deliver([TextDelta(0, "d"), END])
    last = await client.next()
    assert last["type"] == "http.response.body"
    assert last["body"].endswith(b"data: [DONE]\n\n")
    assert last["more_body"] is False
    await task


async def test_an_idle_stream_is_kept_alive_also_before_its_first_token() -> None:
    client, stream = Client(), stream_of(asyncio.Event())
    stream.admit()
    task = asyncio.create_task(answered(answer_to(stream, ping=0.01), client))
    assert (await client.next())["type"] == "http.response.start"
    assert await client.body() == PING
    assert await client.body() == PING
    stream.deliver([TextDelta(0, "a"), END])
    await task
    assert client.sent.qsize() >= 1


async def test_an_idle_stream_is_kept_alive_in_its_own_dialect_while_there_is_nothing_to_tell() -> None:
    client, stream = Client(), stream_of(asyncio.Event())
    stream.admit()
    dialect = MessagesDialect("echo", lambda: "req_1")

    async def begin() -> Stream:
        return stream

    answer = HttpAnswer(begin, dialect, LiveStreams(), streamed=True, ping=0.01, ping_frame=MESSAGES_PING)
    task = asyncio.create_task(answered(answer, client))
    await client.next()
    assert await client.body() == MESSAGES_PING
    stream.deliver([Prefilled(0, 9, 0, 4, 0.0)])
    while (told := await client.body()) == MESSAGES_PING:
        pass
    assert told.startswith(b"event: message_start\n")
    stream.deliver([Prefilled(0, 9, 0, 8, 0.0)])
    assert await client.body() == MESSAGES_PING
    stream.deliver([TextDelta(0, "a"), END])
    await task


async def test_nothing_is_sent_while_the_request_waits_in_the_queue() -> None:
    client, stream = Client(), stream_of(asyncio.Event())
    task = asyncio.create_task(answered(answer_to(stream, ping=0.001), client))
    await asyncio.sleep(0.02)
    assert client.sent.empty()
    stream.deliver([Failed(EngineFailed("The engine failed."))])
    with pytest.raises(EngineFailed):
        await task
    assert client.sent.empty()


async def test_a_failure_in_mid_stream_is_an_error_event() -> None:
    client, stream = Client(), stream_of(asyncio.Event())
    stream.admit()
    stream.deliver([TextDelta(0, "a"), Failed(EngineFailed("The engine failed."))])
    await answered(answer_to(stream), client)
    assert (await client.next())["type"] == "http.response.start"
    error = b'{"error":{"message":"The engine failed.","type":"server_error","param":null,"code":"engine_failed"}}'
    assert (await client.body()).endswith(b"data: " + error + b"\n\ndata: [DONE]\n\n")


async def test_a_disconnect_cancels_the_stream() -> None:
    client, cancelled = Client(), asyncio.Event()
    stream = stream_of(cancelled)
    stream.admit()
    task = asyncio.create_task(answered(answer_to(stream), client))
    await client.next()
    client.gone.set()
    await asyncio.wait_for(cancelled.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_leaves_while_the_model_loads_is_not_waited_for() -> None:
    client, begun = Client(), asyncio.Event()

    async def forever() -> Stream:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(answered(answer_begun_by(forever), client))
    await begun.wait()
    client.gone.set()
    with pytest.raises(Cancelled):
        await asyncio.wait_for(task, PATIENCE)
    assert client.sent.empty()


async def test_a_model_that_loads_for_long_is_waited_for_with_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first comes with the headers, and not only after as long a silence again.
    monkeypatch.setattr("api.http.answer.LOADING_SECONDS", 0.01)
    client, loaded, stream = Client(), asyncio.Event(), stream_of(asyncio.Event())

    async def slowly() -> Stream:
        await loaded.wait()
        return stream

    task = asyncio.create_task(answered(answer_begun_by(slowly), client))
    assert (await client.next())["type"] == "http.response.start"
    assert await client.body() == PING
    loaded.set()
    stream.deliver([TextDelta(0, "a"), END])
    await task
    sent = b"".join([await client.body() for _ in range(client.sent.qsize())])
    assert sent.endswith(b"data: [DONE]\n\n")


async def test_a_model_that_fails_to_load_after_pings_is_told_in_the_stream() -> None:
    client, failing = Client(), asyncio.Event()

    async def badly() -> Stream:
        await failing.wait()
        raise LoadFailed("m", "The file is damaged.")

    task = asyncio.create_task(answered(answer_begun_by(badly, ping=0.01), client))
    assert (await client.next())["type"] == "http.response.start"
    failing.set()
    await task
    sent = b"".join([await client.body() for _ in range(client.sent.qsize())])
    assert b"The file is damaged." in sent
