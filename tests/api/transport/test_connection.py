"""What a stranger may send before anybody knows who it is: how much, for how long, and in which form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api.transport.limits import ConnectionLimits, choose_limits
from tests.api.conftest import Served, chat_body, exchange, raw_request, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOST = b"Host: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
LAST = GET + b"Connection: close\r\n\r\n"
OLD = b"POST / HTTP/1.0\r\n" + HOST
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
HASTY = ConnectionLimits(
    connections=4,
    head_seconds=0.2,
    keep_alive_seconds=0.2,
    body_seconds=0.2,
    drain_seconds=0.2,
    linger_seconds=0.2,
)
"""Few connections, none of which is waited for."""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("hasty"), limits=HASTY) as served:
        await served.http.aclose()  # it would hold connections of its own
        yield served


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def error_of(answer: bytes) -> dict[str, object]:
    error: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error


REFUSED = {
    "a header line without end": ((GET + b"X: ", *[b"a" * 65536] * 6), 431, "headers_too_large"),
    "headers without end": ((GET, *[b"X: a\r\n" * 50] * 6), 431, "headers_too_large"),
    "one header that is too long": ((GET + b"X: " + b"a" * 70_000 + b"\r\n\r\n",), 431, "headers_too_large"),
    "an address without end": ((b"GET /", *[b"a" * 5000] * 6), 414, "target_too_long"),
    "a chunk's extension without end": ((CHUNKED + b"\r\n5;", *[b"a" * 65536] * 6), 400, "malformed_request"),
    "a trailer without end": ((CHUNKED + b"\r\n0\r\nX: ", *[b"a" * 65536] * 6), 400, "malformed_request"),
    "trailers without end": ((CHUNKED + b"\r\n0\r\n", *[b"X: a\r\n" * 50] * 6), 431, "headers_too_large"),
    "a length and chunks": ((CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",), 400, "malformed_request"),
    "chunks and a length": ((GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",), 400, None),
    "two lengths": ((GET + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",), 400, None),
    "the same length twice": ((GET + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",), 400, None),
    "lengths in a list": ((GET + b"Content-Length: 3, 3\r\n\r\nabc",), 400, None),
    "a negative length": ((GET + b"Content-Length: -3\r\n\r\nabc",), 400, None),
    "a length with a sign": ((GET + b"Content-Length: +3\r\n\r\nabc",), 400, None),
    "a length beyond all numbers": ((GET + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nabc",), 400, None),
    "another coding below chunks": ((GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",), 501, None),
    "another coding alone": ((GET + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",), 501, None),
    "chunks in HTTP/1.0": (
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",),
        400,
        None,
    ),
    "a folded line": ((GET + b"X: a\r\n b\r\n\r\n",), 400, None),
    "a blank behind a name": ((b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",), 400, None),
    "line feeds alone": ((b"GET /health HTTP/1.1\nHost: localhost\n\n",), 400, None),
    "a zero in a value": ((GET + b"X: a\x00b\r\n\r\n",), 400, None),
    "no host": ((b"GET /health HTTP/1.1\r\n\r\n",), 400, "missing_host"),
    "another version": ((b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n",), 505, "version_not_supported"),
    "a tunnel": ((b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",), 400, "malformed_target"),
    "an address with a user": ((b"GET http://a@localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",), 400, None),
    "an address of another kind": ((b"GET ftp://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",), 400, None),
    "a size with a sign": ((CHUNKED + b"\r\n+1\r\nx\r\n0\r\n\r\n",), 400, None),
    "a size beyond all numbers": ((CHUNKED + b"\r\n" + b"f" * 18 + b"\r\nx\r\n",), 400, None),
    "half a body and then its end": ((raw_request(chat_body())[:-3],), 400, "incomplete_body"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_bounded_request_is_refused_in_words_and_closed(
    echo: Served, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts, status, code = REFUSED[name]
    with caplog.at_level("INFO"):
        answer = await exchange(echo, *parts, end=name.startswith("half"))
    told = [vars(record)["fields"] for record in caplog.records if record.name == "api.transport.refused"]
    assert all(str(fields["request_id"]).encode() in answer for fields in told)
    assert [fields["status"] for fields in told] == [status]
    assert status_of(answer) == status, answer
    assert error_of(answer)["code"] == (code or error_of(answer)["code"])
    assert b"\r\nx-request-id: req_" in answer
    assert b"\r\nconnection: close\r\n" in answer
    assert (await echo.chat()).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GE",
        GET,
        GET + b"X: a",
        b"\r\n" * 20,
        CHUNKED + b"\r\n5;",
        CHUNKED + b"\r\n0\r\nX: ",
        raw_request(chat_body())[:-3],
        b"POST /v1/nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nx",
        LAST.replace(b"Connection: close\r\n", b""),
    ],
    ids=["nothing", "a word", "a line", "a name", "blanks", "chunk", "trailer", "body", "body nobody wants", "idle"],
)
async def test_a_connection_that_sends_no_more_is_closed(hasty: Served, sent: bytes) -> None:
    await exchange(hasty, sent)


async def test_who_sends_its_headers_or_body_too_slowly_is_told(hasty: Served) -> None:
    for sent in (GET, raw_request(chat_body())[:-3]):
        answer = await exchange(hasty, sent)
        assert (status_of(answer), error_of(answer)["code"]) == (408, "request_timeout")


async def test_a_trickle_of_headers_is_closed_although_it_never_rests(hasty: Served) -> None:
    reader, writer = await hasty.raw()
    reading = asyncio.create_task(reader.read())
    writer.write(GET)
    while not reading.done():
        writer.write(b"X: a\r\n")
        await asyncio.sleep(0.02)
    assert status_of(await reading) == 408


async def test_the_oldest_connection_without_a_request_makes_room_for_the_next(hasty: Served) -> None:
    first = [await hasty.raw() for _ in range(HASTY.connections)]
    for _, writer in first:
        writer.write(GET)
    assert status_of(await exchange(hasty, LAST)) == 200
    for _, writer in first:
        writer.close()


async def test_no_request_under_way_makes_room_and_who_comes_then_is_told_to_come_again(hasty: Served) -> None:
    endless = raw_request(chat_body(ignore_eos=True, stream=True, max_tokens=8000))
    busy = [await hasty.raw() for _ in range(HASTY.connections)]
    for reader, writer in busy:
        writer.write(endless)
        await reader.readline()
    answer = await exchange(hasty, LAST)
    if status_of(answer) != 200:  # unless one of the others has ended
        assert (status_of(answer), error_of(answer)["code"]) == (503, "too_many_connections")
        assert b"\r\nretry-after: 1\r\n" in answer
    for reader, writer in busy:
        assert await reader.readline()
        writer.close()


async def test_connections_leave_descriptors_for_everything_else() -> None:
    for descriptors in (64, 128, 256, 1024, 1 << 20):
        limits = choose_limits(descriptors)
        assert limits.connections + limits.backlog < descriptors
    assert choose_limits(256).connections > 100
    assert choose_limits(None) == ConnectionLimits()


async def test_an_upload_whose_parts_come_one_by_one_is_waited_for(echo: Served) -> None:
    body = raw_request(chat_body())
    reader, writer = await echo.raw()
    for at in range(0, len(body), 20):
        writer.write(body[at : at + 20])
        await asyncio.sleep(0.001)
    assert b" 200 " in await reader.readline()
    writer.close()


async def test_a_refusal_reaches_who_is_still_sending_its_body(echo: Served) -> None:
    head = CHUNKED.replace(b"Transfer-Encoding: chunked", b"Connection: close\r\nContent-Length: 30000000")
    assert status_of(await exchange(echo, head + b"\r\n", *[b"x" * 100_000] * 300)) == 413


async def test_who_expects_to_be_told_to_go_on_is_told_so_unless_the_key_is_wrong(echo: Served) -> None:
    head, _, body = raw_request(chat_body()).partition(b"\r\n\r\n")
    head += b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    assert (await exchange(echo, head, body)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    told = await exchange(echo, head.replace(b"localhost", b"evil.example"), body)
    assert status_of(told) == 403


async def test_requests_are_answered_in_the_order_in_which_they_came_up_to_a_number(echo: Served) -> None:
    answer = await exchange(echo, raw_request(chat_body()) * 3, LAST)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.rindex(b'"uptime_seconds"') > answer.rindex(b'"chat.completion"')
    many = await exchange(echo, raw_request(chat_body()) * 200)
    assert 1 < many.count(b"HTTP/1.1 200 OK") <= ConnectionLimits().pipelined + 1
    assert many.count(b"HTTP/1.1 ") == many.count(b"HTTP/1.1 200 OK")


async def test_what_comes_behind_a_request_is_not_answered_into_its_answer(echo: Served) -> None:
    answer = await exchange(echo, raw_request(chat_body(stream=True)) + b"\x00\x01 no HTTP \r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
async def test_an_offer_of_another_protocol_is_passed_over_and_its_body_is_read(echo: Served, upgrade: bytes) -> None:
    offer = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n"
    whole = raw_request(chat_body()).replace(HOST, HOST + offer)
    chunks = CHUNKED + offer + b"\r\n%x\r\n" % (len(whole) - whole.index(b"\r\n\r\n") - 4)
    chunks += whole.partition(b"\r\n\r\n")[2] + b"\r\n0\r\n\r\n"
    answer = await exchange(echo, whole, chunks, GET + offer + b"\r\n", LAST)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b'"content":"hello"') == 2


async def test_trailers_count_for_nothing(echo: Served) -> None:
    for sent in (CHUNKED.replace(HOST, b"Host: evil.example\r\n"), CHUNKED.replace(HOST, b"Host:\r\n")):
        answer = await exchange(echo, sent + b"Connection: close\r\n\r\n0\r\nHost: localhost\r\n\r\n")
        assert (status_of(answer), error_of(answer)["code"]) == (403, "host_not_allowed")
    body = raw_request(chat_body()).partition(b"\r\n\r\n")[2]
    chunks = b"%x\r\n" % len(body) + body + b"\r\n0\r\nHost: evil.example\r\nOrigin: null\r\nx-api-key: k\r\n\r\n"
    assert status_of(await exchange(echo, CHUNKED + b"Connection: close\r\n\r\n" + chunks)) == 200


async def test_of_a_whole_address_the_host_counts_and_not_the_header(echo: Served) -> None:
    near, far = b"GET http://localhost:1/health?a HTTP/1.1\r\n", b"GET http://evil.example/health HTTP/1.1\r\n"
    assert status_of(await exchange(echo, near + b"Host: evil.example\r\nConnection: close\r\n\r\n")) == 200
    assert status_of(await exchange(echo, far + HOST + b"Connection: close\r\n\r\n")) == 403
