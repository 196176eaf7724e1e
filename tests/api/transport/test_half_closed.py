"""Clients that close their sending half and wait, beside those that leave for good."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.transport.far_end import Address, FarEnd, find_far_end
from tests.api.conftest import ENDLESS, Served, chat_body, exchange, raw_request, serving, settings_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEALTH = b"GET /health HTTP/1.%d\r\nHost: localhost\r\n\r\n"


@pytest_asyncio.fixture(loop_scope="session")
async def endless(tmp_path: Path) -> AsyncIterator[Served]:
    """One slot, which a request may hold for ever."""
    async with serving(tmp_path, settings_of(model=ENDLESS), ping=0.05) as served:
        yield served


async def board(served: Served) -> list[str]:
    return [row["state"] for row in (await served.http.get("/v1/requests")).json()["requests"]]


async def begun(served: Served, **fields: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose request runs."""
    reader, writer = await served.raw()
    writer.write(raw_request(chat_body(ignore_eos=True, **fields)))

    async def running() -> bool:
        return bool(await board(served))

    await until(running)
    return reader, writer


async def ended(served: Served) -> None:
    async def nothing() -> bool:
        return not await board(served)

    await until(nothing)


@pytest.mark.parametrize("version", [0, 1])
async def test_who_has_sent_its_last_byte_gets_its_answer(echo: Served, version: int) -> None:
    assert b" 200 OK\r\n" in await exchange(echo, HEALTH % version, end=True)


async def test_who_has_sent_its_last_byte_gets_its_chat_whole_and_streamed(echo: Served) -> None:
    whole = await exchange(echo, raw_request(chat_body()), end=True)
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"content":"hello"' in whole
    streamed = await exchange(echo, raw_request(chat_body(stream=True)), end=True)
    assert streamed.startswith(b"HTTP/1.1 200 OK\r\n")
    assert streamed.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_all_that_was_asked_in_one_go_is_answered_to_who_then_ends(echo: Served) -> None:
    answer = await exchange(echo, raw_request(chat_body()) * 3, HEALTH % 1, end=True)
    assert answer.count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_who_has_sent_its_last_byte_is_waited_for_until_it_leaves(endless: Served, streamed: bool) -> None:
    _, writer = await begun(endless, stream=streamed)
    writer.write_eof()
    for _ in range(5):
        assert await board(endless)
        await asyncio.sleep(0.05)
    writer.close()
    await ended(endless)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_who_breaks_off_after_its_last_byte_frees_its_slot(endless: Served, streamed: bool) -> None:
    _, writer = await begun(endless, stream=streamed)
    writer.write_eof()
    await asyncio.sleep(0.05)
    taken: socket.socket = writer.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await ended(endless)


async def test_who_waits_in_the_queue_after_its_last_byte_is_answered_and_who_leaves_there_is_forgotten(
    endless: Served,
) -> None:
    _, running = await begun(endless)
    stays, stays_writer = await endless.raw()
    _, leaves = await endless.raw()
    for writer in (stays_writer, leaves):
        writer.write(raw_request(chat_body()))
        writer.write_eof()

    async def queued(wanted: int) -> bool:
        return (await board(endless)).count("queued") == wanted

    await until(lambda: queued(2))
    leaves.close()
    await until(lambda: queued(1))
    running.close()
    assert (await stays.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    stays_writer.close()


async def test_who_leaves_behind_several_requests_ends_them_all(endless: Served) -> None:
    _, writer = await endless.raw()
    writer.write(raw_request(chat_body(ignore_eos=True)) * 2)

    async def running() -> bool:
        return bool(await board(endless))

    await until(running)
    writer.close()
    await ended(endless)


def tells_nothing(_: Address, __: Address) -> FarEnd:
    return FarEnd.UNKNOWN


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_where_the_system_tells_nothing_a_client_that_left_gives_itself_away(
    endless: Served, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it is with clients of other machines, of which a test has none.
    monkeypatch.setattr("api.transport.half_closed.find_far_end", tells_nothing)
    monkeypatch.setattr("api.transport.half_closed.INTERIM_AFTER_SECONDS", (0.05,) * 100)
    _, writer = await begun(endless, stream=streamed)
    writer.close()
    await ended(endless)


async def test_where_the_system_tells_nothing_who_still_listens_hears_an_interim_answer_at_most(
    endless: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.transport.half_closed.find_far_end", tells_nothing)
    monkeypatch.setattr("api.transport.half_closed.INTERIM_AFTER_SECONDS", (0.05,))
    _, running = await begun(endless)
    reader, writer = await endless.raw()
    writer.write(raw_request(chat_body()))
    writer.write_eof()
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    running.close()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no other system lists all connections")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_half_a_close_is_told_from_a_whole_one(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        client = socket.create_connection(listening.getsockname()[:2])
        taken, theirs = listening.accept()
        ours = taken.getsockname()
        with taken:
            assert find_far_end(ours[:2], theirs[:2]) is FarEnd.LISTENS
            client.shutdown(socket.SHUT_WR)
            assert find_far_end(ours[:2], theirs[:2]) is FarEnd.LISTENS
            client.close()
            assert find_far_end(ours[:2], theirs[:2]) is FarEnd.LEFT
    assert find_far_end(("192.0.2.1", 80), ("192.0.2.2", 81)) is FarEnd.UNKNOWN
