"""Compressed bodies, and what is no well-formed JSON."""

from __future__ import annotations

import gzip
import json
import zlib

import httpx
import pytest

from api.http.bodies import find_fault
from tests.api.conftest import Served, chat_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = json.dumps(chat_body()).encode()
URL = "/v1/chat/completions"


def bare(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


async def post(served: Served, body: bytes, coding: str | None = None) -> httpx.Response:
    return await served.http.post(URL, content=body, headers={} if coding is None else {"Content-Encoding": coding})


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("X-GZip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", bare(BODY)),
        ("identity, gzip", gzip.compress(b"\xef\xbb\xbf" + BODY)),
        ("identity", BODY),
        ("", BODY),
    ],
)
async def test_a_compressed_body_is_undone(echo: Served, coding: str, body: bytes) -> None:
    response = await post(echo, body, coding)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "gzip;q=1", "*", "caf\xe9"])
async def test_what_is_not_undone_is_told_with_what_is(echo: Served, coding: str) -> None:
    response = await echo.http.post(URL, content=BODY, headers=[(b"Content-Encoding", coding.encode("latin-1"))])
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"
    assert response.json()["error"]["code"] == "unsupported_encoding"


@pytest.mark.parametrize(
    ("coding", "body", "said"),
    [
        ("gzip", gzip.compress(BODY)[:-9], "ends before"),
        ("gzip", BODY, "not well-formed gzip"),
        ("gzip", gzip.compress(BODY) + b"more", "not well-formed gzip"),
        ("deflate", zlib.compress(BODY) + b"more", "more in the body"),
        ("deflate", b"x", "ends before"),
        ("gzip", b"", "The body is empty"),
        (None, gzip.compress(BODY), "Content-Encoding"),
    ],
)
async def test_a_body_that_is_not_what_its_headers_say_is_told_so(
    echo: Served, coding: str | None, body: bytes, said: str
) -> None:
    response = await post(echo, body, coding)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


@pytest.mark.parametrize("path", [URL, "/v1/embeddings", "/v1/models/load", "/v1/audio/transcriptions"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_refused_at_the_bound_of_a_body(echo: Served, path: str, coding: str) -> None:
    bomb = b'{"model": "' + b"a" * 100_000_000
    body = gzip.compress(bomb, 1) if coding == "gzip" else zlib.compress(bomb, 1)
    response = await echo.http.post(path, content=body, headers={"Content-Encoding": coding})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


SAID = [
    (b"", "The body is empty"),
    (b" \r\n", "The body is empty"),
    (BODY.decode().encode("utf-16"), "UTF-16"),
    (BODY.decode().encode("utf-16-be"), "UTF-16"),
    (BODY.decode().encode("utf-32"), "UTF-32"),
    (BODY.decode().encode("utf-32-le"), "UTF-32"),
    (b'{"model": "\\ud800"}', r"\ud800 at byte 11 of the body is half a surrogate pair"),
    (b'{"model": "\\ud800 and more"}', r"\ud800 at byte 11 of the body is half a surrogate pair"),
    (b'{"model": "\\uDC00"}', r"\uDC00 at byte 11 of the body is half a surrogate pair"),
    (b'{"model": "\\ud83d\\ude00\\ude00"}', r"\ude00 at byte 23 of the body is half a surrogate pair"),
    (b'{"model": "\\\\\\ud800"}', r"\ud800 at byte 13 of the body is half a surrogate pair"),
    (b'{"model": "\\ud83d\\ude00', "truncated"),
    (b'{"model": "\\\\ud800', "truncated"),
    (b'{"user": "\\ud83d", "messages": []}', r"\ud83d at byte 10 of the body is half a surrogate pair"),
    (b'{"unheard_of": {"a": ["\\ude00"]}}', r"\ude00 at byte 23 of the body is half a surrogate pair"),
    (b'{"temperature": "hot", "model": "\\ud83d"}', r"\ud83d at byte 33 of the body is half a surrogate pair"),
    (b'{"user": NaN}', "NaN at byte 9"),
    (b'{"user": "\xff"}', "not UTF-8"),
    (b'{"model": NaN}', "NaN at byte 10"),
    (b'{"model": -Infinity}', "-Infinity at byte 10"),
    (b'{"model": None}', "None at byte 10"),
    (b"{'model': 1}", "single quotes"),
    (b"model=echo&stream=true", "The body is a form"),
    (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--', "multipart form"),
    (b"<xml/>", "XML"),
    (b'{"model": "\xed\xa0\x80"}', "not UTF-8"),
]


@pytest.mark.parametrize("path", [URL, "/v1/embeddings", "/v1/models/load"])
@pytest.mark.parametrize(("body", "said"), SAID)
async def test_what_is_no_json_is_told_as_what_it_is_on_every_path(
    echo: Served, path: str, body: bytes, said: str
) -> None:
    response = await echo.http.post(path, content=body)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"a": 1, "b": NaN}', "b"),
        (b'{"a": {"x": "y, {"}, "b": [0, [1], NaN]}', "b[2]"),
        (b'{"a": [{"x": 1, "y": {"\\"z": NaN}}]}', 'a[0].y.\\"z'),
        (b'{"a": "x \\ud800"}', "a"),
        (b'{"a": ": 1e999", "b": [1, 1e999]}', "b[1]"),
        (b"NaN", None),
        (b'{"a": "' + b"x" * 70_000 + b'", "b": NaN}', None),
    ],
)
async def test_what_is_no_value_is_told_with_its_field(body: bytes, field: str | None) -> None:
    fault = find_fault(body)
    assert fault is not None
    assert fault.field == field


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=x"])
async def test_json_is_taken_whatever_it_calls_itself_and_behind_a_byte_order_mark(echo: Served, kind: str) -> None:
    response = await echo.http.post(URL, content=b"\xef\xbb\xbf" + BODY, headers={"Content-Type": kind})
    assert response.status_code == 200
