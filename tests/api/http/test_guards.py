"""What is turned away before a route sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import openai
import pytest
import pytest_asyncio
from litestar.types import Message, Receive, Scope, Send
from openai import AsyncOpenAI

from api.http.gatekeeper import Gatekeeper
from api.http.guards import Guard, choose_request_id
from api.http.origins import is_origin_allowed
from core.settings.schema import ServerSettings
from tests.api.conftest import Served, chat_body, exchange, serving, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "a key of this test"
PAGE = "https://page.example"
LIMIT = 2048


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server with a key, one web origin and a small limit for bodies."""
    settings = settings_of(ServerSettings(port=0, api_keys=(KEY,), cors_origins=(PAGE,), max_body=LIMIT))
    async with serving(tmp_path_factory.mktemp("guarded"), settings) as served:
        yield served


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}]
)
async def test_the_key_opens_the_server_as_bearer_and_as_header(guarded: Served, headers: dict[str, str]) -> None:
    assert (await guarded.http.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"Authorization": KEY}, "missing_api_key"),
        ({"x-api-key": KEY + "x"}, "invalid_api_key"),
        ({"Authorization": b"Bearer \xff\xfe"}, "invalid_api_key"),
    ],
)
async def test_without_the_key_every_path_is_closed(guarded: Served, headers: dict[str, str], code: str) -> None:
    for path in ("/v1/models", "/schema/openapi.json", "/v1/nothing"):
        response = await guarded.http.get(path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == code
        assert response.headers["www-authenticate"] == "Bearer"


async def test_the_sdk_raises_its_own_error_for_a_wrong_key(guarded: Served) -> None:
    async with AsyncOpenAI(base_url=f"{guarded.server.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_health_needs_no_key(guarded: Served) -> None:
    assert (await guarded.http.get("/health")).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:99", "[::1]"])
async def test_names_of_this_machine_are_answered(echo: Served, host: str) -> None:
    assert (await echo.http.get("/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "evil.example:127", ""]
)
async def test_other_host_names_are_refused_on_loopback(echo: Served, host: str) -> None:
    response = await echo.http.get("/health", headers={"Host": host})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"


async def test_names_that_are_configured_are_answered_on_loopback_whatever_their_port_and_case(tmp_path: Path) -> None:
    settings = settings_of(ServerSettings(port=0, allowed_hosts=("LLM.example.org", "box:8443", "[fd00::1]")))
    async with serving(tmp_path, settings) as served:
        for host in ("llm.example.org", "llm.EXAMPLE.org:443", "box", "box:1", "[FD00::1]:9", "localhost"):
            answer = await served.http.get("/v1/models", headers={"Host": host, "Origin": f"https://{host}"})
            assert answer.status_code == 200, host
        for host in ("example.org", "a.llm.example.org", "llm.example.org.evil", "box@evil", "box:x", ""):
            assert (await served.http.get("/v1/models", headers={"Host": host})).status_code == 403, host


async def test_the_address_that_is_bound_is_answered_with_a_port_and_without(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(ServerSettings(host="127.0.0.2", port=0))) as served:
        for host in ("127.0.0.2", "127.0.0.2:1"):
            assert (await served.http.get("/health", headers={"Host": host})).status_code == 200


async def test_a_length_that_is_no_number_that_can_be_read_is_refused() -> None:
    guard = Guard(never, ServerSettings(max_body=LIMIT), gate=Gatekeeper())
    headers = [(b"host", b"localhost"), (b"content-length", b"9" * 5000)]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await guard(cast("Scope", scope), cast("Receive", None), send)
    assert sent[0]["status"] == 413  # type: ignore[typeddict-item]


async def never(_: Scope, __: Receive, ___: Send) -> None:
    raise AssertionError


async def test_a_path_cannot_write_into_the_terminal_that_shows_the_log(
    echo: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        await echo.http.get("/v1/%1b[2J%0aerror")
    (path,) = (vars(record)["fields"]["path"] for record in caplog.records if record.name == "api.http.guards")
    assert path == r"'/v1/\x1b[2J\nerror'"


def read_requests(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """Levels and fields of the lines that tell of requests."""
    return [(each.levelname, vars(each)["fields"]) for each in caplog.records if each.name == "api.http.guards"]


@pytest.mark.parametrize(
    ("headers", "body", "why"),
    [
        ({}, {"temperature": 9}, "The field `temperature` is wrong: it is too large; at most 2."),
        (
            {},
            {"model": "another"},
            "There is no model 'another' on this machine; served here: echo; GET /v1/models lists",
        ),
        ({"Host": "evil.example"}, {}, "The Host header 'evil.example' does not name this machine"),
    ],
)
async def test_the_log_says_why_a_request_was_refused(
    echo: Served, caplog: pytest.LogCaptureFixture, headers: dict[str, str], body: dict[str, object], why: str
) -> None:
    with caplog.at_level("INFO"):
        await echo.http.post("/v1/chat/completions", json=chat_body(**body), headers=headers)
    ((_, fields),) = read_requests(caplog)
    assert fields["why"].startswith(why)


async def test_the_log_tells_no_more_of_a_reason_than_fits_a_line(
    echo: Served, caplog: pytest.LogCaptureFixture
) -> None:
    names = [{"type": "function", "function": {"name": "a" * 200 + str(at)}} for at in range(9)]
    choice = {"type": "function", "function": {"name": "b" * 5000}}
    with caplog.at_level("INFO"):
        await echo.chat(tools=names, tool_choice=choice)
    ((_, fields),) = read_requests(caplog)
    assert len(fields["why"]) < 600


async def test_what_programs_ask_all_the_time_is_logged_where_it_fails(
    echo: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        for path in ("/health", "/v1/health", "/metrics", "/v1/models"):
            await echo.http.get(path)
        await echo.http.get("/health", headers={"Host": "evil.example"})
    assert [level for level, _ in read_requests(caplog)] == ["DEBUG", "DEBUG", "DEBUG", "INFO", "INFO"]


async def test_a_request_without_a_host_is_refused_on_loopback(echo: Served) -> None:
    reader, writer = await echo.raw()
    writer.write(b"GET /health HTTP/1.0\r\n\r\n")
    assert b" 403 " in await reader.readline()
    writer.close()


async def test_a_page_from_elsewhere_cannot_make_the_model_work(echo: Served) -> None:
    for origin in ("https://evil.example", "null"):
        response = await echo.http.post("/v1/chat/completions", json=chat_body(), headers={"Origin": origin})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers


async def test_cors_is_off_unless_configured(echo: Served) -> None:
    response = await echo.http.get("/v1/models", headers={"Origin": "http://localhost:3000"})
    assert response.status_code == 200
    assert not any(name.startswith("access-control") for name in response.headers)


async def test_a_configured_origin_may_read_answers_and_refusals_but_never_with_credentials(guarded: Served) -> None:
    for headers, status in (({"x-api-key": KEY}, 200), ({}, 401)):
        response = await guarded.http.get("/v1/models", headers={"Origin": PAGE} | headers)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "access-control-allow-credentials" not in response.headers


async def test_a_preflight_needs_no_key(guarded: Served) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    response = await guarded.http.options("/v1/chat/completions", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-headers"] == "x-api-key"
    refused = await guarded.http.options("/v1/chat/completions", headers=asked | {"Origin": "https://evil.example"})
    assert refused.status_code == 403


async def test_an_oversized_body_is_refused_by_its_announced_length(guarded: Served) -> None:
    response = await guarded.http.post("/v1/chat/completions", content=b"x" * (LIMIT + 1), headers={"x-api-key": KEY})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert str(LIMIT) in response.json()["error"]["message"]


async def test_an_oversized_body_is_refused_although_it_announces_nothing(guarded: Served) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * (LIMIT // 4)

    response = await guarded.http.post("/v1/chat/completions", content=parts(), headers={"x-api-key": KEY})
    assert response.status_code == 413
    assert (await guarded.http.get("/v1/models", headers={"x-api-key": KEY})).status_code == 200


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "x-api-key", "Content-Type", "x-request-id"])
async def test_a_header_that_is_there_twice_is_refused_whichever_is_right(guarded: Served, name: str) -> None:
    right = {"Host": "localhost", "Origin": PAGE, "Authorization": f"Bearer {KEY}", "x-api-key": KEY}
    one, another = (name, right.get(name, "a")), (name, "another")
    rest = [(other, value) for other, value in right.items() if other != name]

    async def ask(*headers: tuple[str, str]) -> bytes:
        lines = [f"{given}: {value}" for given, value in headers]
        request = "\r\n".join(["GET /v1/models HTTP/1.1", "Connection: close", *lines, "", ""])
        return await exchange(guarded, request.encode())

    for headers in ((one, another, *rest), (*rest, another, one), (*rest, one, one)):
        answer = await ask(*headers)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert f"more than one {name.lower()} header".encode() in answer
    assert (await ask(*rest, one)).startswith(b"HTTP/1.1 200 ")


async def test_a_key_in_a_trailer_opens_nothing(guarded: Served) -> None:
    chunks = b"Host: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n"
    for trailer in (f"x-api-key: {KEY}", f"Authorization: Bearer {KEY}"):
        answer = await exchange(guarded, b"GET /v1/models HTTP/1.1\r\n" + chunks + trailer.encode() + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")


ALIKE = ["a@localhost", "localhost:80@evil", "localhost.", "[::1", "::1", "localhost:", "localhost:x", "localhost evil"]
ALIKE += ["localhost,evil", "localhost/evil", "127.1", "2130706433", "[::2]"]


@pytest.mark.parametrize("host", [*ALIKE, b"localhost\xff", b"\xc2\xa0localhost"])
async def test_what_is_like_a_name_of_this_machine_is_none(echo: Served, host: str | bytes) -> None:
    response = await echo.http.get("/health", headers=[(b"Host", host if isinstance(host, bytes) else host.encode())])
    assert response.status_code == 403


GETS = ["/health", "/v1/models", "/v1/models/echo", "/v1/requests", "/v1/queue/stats", "/v1/cache/stats", "/v1/engines"]


@pytest.mark.parametrize("path", [*GETS, "/schema/openapi.json", "/v1/nothing", "/v1/models/nobody"])
async def test_head_is_get_without_its_body(echo: Served, path: str) -> None:
    head, get = await echo.http.head(path), await echo.http.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    still = {"date", "x-request-id", "content-length"}  # uptime grows
    assert {k: v for k, v in head.headers.items() if k not in still} == {
        k: v for k, v in get.headers.items() if k not in still
    }
    assert abs(int(head.headers["content-length"]) - len(get.content)) < 3


async def test_head_is_refused_where_get_is_and_a_connection_goes_on_after_it(echo: Served, guarded: Served) -> None:
    assert (await echo.http.head("/v1/chat/completions")).status_code == 405
    assert (await guarded.http.head("/v1/models")).status_code == 401
    head = b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = await exchange(echo, head, last)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"{" not in answer


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/chat/completions", "OPTIONS, POST"),
        ("/v1/requests/x", "DELETE, GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_what_a_path_allows_is_told_to_who_asks_and_to_who_does_not(
    echo: Served, path: str, allowed: str
) -> None:
    options, put = await echo.http.options(path), await echo.http.put(path)
    assert (options.status_code, put.status_code) == (204, 405)
    assert options.headers["allow"] == put.headers["allow"] == allowed


@pytest.mark.parametrize("given", ["abc-123", "x" * 128])
async def test_a_sane_request_id_is_the_clients(echo: Served, given: str) -> None:
    response = await echo.http.get("/health", headers={"x-request-id": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["x" * 129, "two words", "", b"caf\xe9"])
async def test_any_other_request_id_is_replaced(echo: Served, given: str) -> None:
    response = await echo.http.get("/health", headers={"x-request-id": given})
    assert re.fullmatch(r"req_[0-9a-f]{24}", response.headers["x-request-id"])


async def test_errors_and_streams_bear_a_request_id_too(echo: Served) -> None:
    assert (await echo.chat(n=99)).headers["x-request-id"]
    assert (await echo.chat(stream=True)).headers["x-request-id"]


async def test_origins_are_compared_whole() -> None:
    assert is_origin_allowed("https://a.example", "b", ("https://a.example",))
    assert not is_origin_allowed("https://a.example.evil", "b", ("https://a.example",))
    assert is_origin_allowed("http://box:8080", "box:8080", ())
    assert is_origin_allowed("app://something", "b", ())
    assert is_origin_allowed("https://any.example", "b", ("*",))
    assert not is_origin_allowed("http://[bad", "b", ())


async def test_a_fresh_request_id_is_made_for_each_request() -> None:
    assert choose_request_id({}) != choose_request_id({})
