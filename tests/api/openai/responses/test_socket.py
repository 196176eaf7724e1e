"""Responses over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import socket as socketlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.transport.limits import ConnectionLimits
from core.settings.schema import ServerSettings, Settings
from tests.api.conftest import ENDLESS, PATIENCE, Served, exchange, serving, settings_of, until
from tests.api.openai.responses.conftest import ask, check_events, kinds_of, response_body, text_of
from tests.api.openai.responses.open_responses import check_open_event

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
LAST = ("response.completed", "response.incomplete", "response.failed", "error")


@asynccontextmanager
async def opened(served: Served, path: str = "/v1/responses", **headers: str) -> AsyncIterator[ClientConnection]:
    address = f"ws://127.0.0.1:{served.server.port}{path}"
    async with connect(address, additional_headers=headers, max_size=None) as socket:
        yield socket


async def send(socket: ClientConnection, **fields: object) -> None:
    await socket.send(json.dumps({"type": "response.create"} | response_body(**fields)))


async def receive(socket: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
    EVENT.validate_python(event, strict=True)
    check_open_event(event)
    return event


async def receive_all(socket: ClientConnection) -> list[dict[str, Any]]:
    """The events of one response, or one error."""
    events = [await receive(socket)]
    while events[-1]["type"] not in LAST:
        events.append(await receive(socket))
    return events if events[0]["type"] == "error" else check_events(events)


async def turn(socket: ClientConnection, **fields: object) -> dict[str, Any]:
    """The response of one request."""
    await send(socket, **fields)
    response: dict[str, Any] = (await receive_all(socket))[-1]["response"]
    return response


async def fault(socket: ClientConnection, **fields: object) -> dict[str, Any]:
    await send(socket, **fields)
    (event,) = await receive_all(socket)
    return event


@pytest_asyncio.fixture(loop_scope="session")
async def endless(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        yield served


async def test_a_message_is_answered_by_the_events_of_a_stream(echo: Served) -> None:
    async with opened(echo) as socket:
        await send(socket)
        events = await receive_all(socket)
    assert kinds_of(events)[0] == "created"
    assert kinds_of(events)[-1] == "completed"
    assert text_of(events) == "hello"


async def test_the_client_of_openai_speaks_it(echo: Served) -> None:
    async with echo.client.responses.connect() as connection:
        await connection.response.create(model="echo", input="hello")
        async for event in connection:
            if event.type == "response.completed":
                assert event.response.output_text == "hello"
                break


async def test_a_connection_goes_on_from_what_is_not_stored(echo: Served) -> None:
    async with opened(echo) as socket:
        first = await turn(socket, input="one", store=False)
        second = await turn(socket, input="two", store=False, previous_response_id=first["id"])
        assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
        async with opened(echo) as other:
            told = await fault(other, input="two", previous_response_id=first["id"])
    assert (told["status"], told["error"]["code"]) == (400, "previous_response_not_found")
    assert told["error"]["param"] == "previous_response_id"


async def test_what_is_stored_is_there_for_all_connections_and_over_http(echo: Served) -> None:
    over_http = await ask(echo, input="one")
    async with opened(echo) as socket:
        told = await turn(socket, input="two", previous_response_id=over_http["id"])
    assert (await echo.http.get(f"/v1/responses/{told['id']}")).json()["id"] == told["id"]


async def test_where_no_answer_is_wanted_the_prompt_is_read_for_the_next_request(echo: Served) -> None:
    first = "What this test alone says first, at some length."
    async with opened(echo) as socket:
        warm = await turn(socket, input=first, generate=False, store=False)
        assert (warm["status"], warm["output"], warm["usage"]["output_tokens"]) == ("completed", [], 0)
        told = await turn(socket, input="two", store=False, previous_response_id=warm["id"])
    assert told["output"][0]["content"][0]["text"] == "two"
    assert told["usage"]["input_tokens_details"]["cached_tokens"] >= len(first)


async def test_a_prompt_that_cannot_be_read_is_told_where_no_answer_is_wanted(echo: Served) -> None:
    async with opened(echo) as socket:
        told = await fault(socket, input="x" * 9000, generate=False)
    assert told["error"]["code"] == "context_length_exceeded"


async def test_a_client_that_never_reads_is_ended_and_its_requests_with_it(tmp_path: Path) -> None:
    settings, limits = settings_of(model=ENDLESS), ConnectionLimits(write_seconds=0.2)
    async with serving(tmp_path, settings, limits=limits) as served:
        reader, writer = await served.raw()
        # What the kernel keeps for this end is soon full.
        writer.get_extra_info("socket").setsockopt(socketlib.SOL_SOCKET, socketlib.SO_RCVBUF, 4096)
        writer.write(HEAD)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        body = json.dumps({"type": "response.create"} | response_body(input="all that comes back " * 5000)).encode()
        writer.write(b"\x81\xff" + len(body).to_bytes(8, "big") + bytes(4) + body)
        await writer.drain()

        async def asked() -> bool:
            return bool((await served.http.get("/v1/requests")).json()["requests"])

        async def idle() -> bool:
            return not await asked()

        await until(asked)
        await until(idle)
        writer.close()


async def test_requests_of_one_stream_are_answered_one_after_the_other(echo: Served) -> None:
    async with opened(echo) as socket:
        for text in ("a", "b", "c"):
            await send(socket, input=text)
        assert [text_of(await receive_all(socket)) for _ in range(3)] == ["a", "b", "c"]


async def test_streams_with_names_run_side_by_side_and_their_events_say_which_they_are(endless: Served) -> None:
    async with opened(endless) as socket:
        await send(socket, ignore_eos=True, stream_id="long")
        assert (await receive(socket))["stream_id"] == "long"
        await send(socket, stream_id="bad", temperature=9)
        while (event := await receive(socket))["type"] != "error":
            assert event["stream_id"] == "long"
        assert event["stream_id"] == "bad"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("not json", None),
        ("[]", None),
        ('{"type":"response.stop"}', "type"),
        ('{"type":"response.steer"}', "previous_response_id"),
        ("{}", "type"),
        ('{"type":"response.create","model":"echo","input":5}', "input"),
        ('{"type":"response.create","model":"echo"}', "input"),
        ('{"type":"response.create","model":"echo","input":"x","background":true}', "background"),
        ('{"type":"response.create","model":"echo","input":"x","stream_id":"a b"}', "stream_id"),
        ('{"type":"response.create","model":"none","input":"x"}', "model"),
        ("[" * 100_000, None),
        (b"\xff", None),
    ],
)
async def test_what_is_no_request_is_told_and_the_connection_lives_on(
    echo: Served, message: str | bytes, field: str | None
) -> None:
    async with opened(echo) as socket:
        await socket.send(message)
        event = await receive(socket)
        assert (event["type"], event["error"]["param"]) == ("error", field)
        assert 400 <= event["status"] < 500
        assert (await turn(socket))["status"] == "completed"


async def test_too_many_requests_at_once_are_refused(endless: Served) -> None:
    async with opened(endless) as socket:
        for _ in range(40):
            await send(socket, ignore_eos=True)
        while (event := await receive(socket))["type"] != "error":
            pass
    assert (event["status"], event["error"]["code"]) == (503, "overloaded")
    assert event["error"]["message"].startswith("The server is busy answering this connection")


async def test_a_client_that_leaves_cancels_what_it_asked_for(endless: Served) -> None:
    async with opened(endless) as socket:
        await send(socket, ignore_eos=True)
        await send(socket, ignore_eos=True, stream_id="other")
        await receive(socket)

    async def idle() -> bool:
        return not (await endless.http.get("/v1/requests")).json()["requests"]

    await until(idle)


async def test_a_message_that_is_too_large_ends_the_connection(tmp_path: Path) -> None:
    settings = settings_of(ServerSettings(port=0, max_body=2000))
    async with serving(tmp_path, settings) as served, opened(served) as socket:
        await send(socket, input="x" * 3000)
        with pytest.raises(ConnectionClosed) as caught:
            await receive(socket)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


HEAD = (
    b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\xff" * 100, 1002),
        # Empty fragments add nothing to the size of a message, and could go on for ever.
        (b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 5000, 1008),
    ],
)
async def test_bytes_that_are_no_message_end_the_connection(echo: Served, sent: bytes, code: int) -> None:
    reader, writer = await echo.raw()
    writer.write(HEAD)
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).startswith(b"HTTP/1.1 101 ")
    writer.write(sent)
    closed = await asyncio.wait_for(reader.read(), PATIENCE)
    assert closed[2:4] == code.to_bytes(2, "big")
    writer.close()


async def test_a_head_that_asks_for_a_websocket_and_is_none_is_refused(echo: Served) -> None:
    broken = HEAD.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"")
    assert (await exchange(echo, broken)).startswith(b"HTTP/1.1 400 ")
    long = HEAD.replace(b"Host:", b"X-Long: " + b"x" * 9000 + b"\r\nHost:")
    assert (await exchange(echo, long, end=True)).startswith(b"HTTP/1.1 405 ")


async def test_other_paths_have_no_websocket(echo: Served) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with opened(echo, "/v1/chat/completions"):
            pass
    assert caught.value.response.status_code == 404
    assert json.loads(caught.value.response.body or b"")["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer right", "Origin": "https://elsewhere.example"}, 403),
        ({"Authorization": "Bearer right", "Origin": "http://localhost:3000"}, 101),
        ({"x-api-key": "right"}, 101),
    ],
)
async def test_key_and_origin_are_wanted_as_of_any_request(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with serving(tmp_path, Settings(server=ServerSettings(port=0, api_keys=("right",)))) as served:
        try:
            async with opened(served, **headers) as socket:
                assert (await turn(socket))["status"] == "completed"
                told = 101
        except InvalidStatus as error:
            told = error.response.status_code
    assert told == status


async def test_a_server_that_stops_lets_a_response_end_and_then_closes(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, opened(served) as socket:
        await send(socket, input="x" * 3000)
        await receive(socket)
        stopping = asyncio.create_task(served.server.stop(drain=PATIENCE))
        while (event := await receive(socket))["type"] not in LAST:
            pass
        assert event["type"] == "response.completed"
        with pytest.raises(ConnectionClosed):
            await receive(socket)
        await stopping


async def test_a_server_that_is_in_a_hurry_tells_why_a_response_has_failed(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served, opened(served) as socket:
        await send(socket, ignore_eos=True)
        await receive(socket)
        stopping = asyncio.create_task(served.server.stop(drain=0))
        while (event := await receive(socket))["type"] not in LAST:
            pass
        assert event["type"] == "response.failed"
        assert "being stopped" in event["response"]["error"]["message"]
        await stopping


async def test_what_fails_unexpectedly_is_told_and_logged_whatever_its_kind(
    echo: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(echo.workbench.requests, "submit", fail)
    async with opened(echo) as socket:
        await send(socket)
        (told,) = await receive_all(socket)
    assert (told["status"], told["error"]["code"]) == (500, "internal")
    assert "no space" not in told["error"]["message"]
    assert "unexpected error" in caplog.text


async def test_what_was_dropped_of_a_message_stands_in_its_response(echo: Served) -> None:
    async with opened(echo) as socket:
        assert (await turn(socket, truncation="auto"))["ignored"] == ["truncation"]
        assert "ignored" not in await turn(socket)
