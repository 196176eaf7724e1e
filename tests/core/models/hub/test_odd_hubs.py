"""What answers as no Hub does is told in a sentence, wherever the Hub is asked."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import ArtifactError, BenchtopError, HubError
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.models.hub.repository import Quant, RepoFile

COMMIT = "0" * 40
QUANT = Quant("owner/name", COMMIT, "Q8_0", "gguf", (RepoFile("a.gguf", 1 << 20),))


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    told = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return ("\r\n".join((*told, "Connection: close")) + "\r\n\r\n").encode() + body


def info(**changes: str) -> bytes:
    fields = {"id": '"owner/name"', "sha": f'"{COMMIT}"', "siblings": "[]"} | changes
    return http(("{" + ", ".join(f'"{key}": {value}' for key, value in fields.items()) + "}").encode())


ANYWHERE = {
    "no HTTP": b"\xff\xfe\x00 what is this",
    "nothing": b"",
    "cut off": http(b'[{"id": "owner', length=4096),
    "chunks cut off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{",
    "chunks malformed": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n",
    "gzip garbage": http(b"\x1f\x8bgarbage", "Content-Encoding: gzip"),
    "gzip cut off": http(gzip.compress(b"[]" * 4096)[:20], "Content-Encoding: gzip"),
    "circles": http(b"", "Location: /api/models", status="302 Found"),
    "sent to a file": http(b"", "Location: file:///etc/passwd", status="302 Found"),
    "sent to nowhere": http(b"", "Location: http://[::1", status="302 Found"),
    "odd status": http(b"", status="599 Odd"),
    "endless wait": http(b"", f"Retry-After: {'9' * 5000}", status="429 Slow down"),
}
JSON = {
    "not UTF-8": http(b'[{"id": "\xff"}]'),
    "not UTF-8 object": http(b'{"id": "\xff\xfe"}'),
    "half a character": http(b'[{"id": "\\ud800"}]'),
    "not JSON": http(b"<html>log in to this network</html>"),
    "empty": http(b""),
    "another shape": http(b'{"error": [1, 2]}'),
    "null": http(b"null"),
    "deep": http(b"[" * 100_000),
    "deep objects": http(b'{"siblings":' * 100_000),
}
SEARCHED = {
    "huge number": http(b'[{"id": "a/b", "downloads": 1' + b"0" * 400 + b"}]"),
    "negative": http(b'[{"id": "a/b", "likes": -1}]'),
    "odd date": http(b'[{"id": "a/b", "lastModified": "9999-99-99T00:00:00Z"}]'),
}
LISTED = {
    "id that leads out": info(id='"../../etc/passwd"'),
    "no commit": info(sha='"../../main"'),
    "file that leads out": info(siblings='[{"rfilename": "../../x.gguf"}]'),
    "file of odd size": info(siblings='[{"rfilename": "x.gguf", "size": 1e400}]'),
    "file of huge size": info(siblings='[{"rfilename": "x.gguf", "size": 99999999999999999999}]'),
    "file of negative size": info(siblings='[{"rfilename": "x.gguf", "size": -5}]'),
}


@contextmanager
def answering(answer: bytes, folder: Path) -> Iterator[Hub]:
    """A Hub that says this to whoever asks, and ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(20)
                    try:
                        asked = b""
                        while b"\r\n\r\n" not in asked and (piece := connection.recv(65536)):
                            asked += piece
                        connection.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        hub = Hub(folder / "headers", HubAccess(f"http://127.0.0.1:{listening.getsockname()[1]}", folder / "hub"))
        try:
            yield hub
        finally:
            hub.close()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def told(error: BenchtopError) -> None:
    said = str(error)
    assert said.endswith(".")
    assert "Traceback" not in said
    assert len(said) < 600


@pytest.mark.parametrize("answer", [*ANYWHERE.values(), *JSON.values(), *SEARCHED.values()],
                         ids=[*ANYWHERE, *JSON, *SEARCHED])  # fmt: skip
def test_a_search_that_is_answered_oddly_is_refused_in_a_sentence(answer: bytes, tmp_path: Path) -> None:
    with answering(answer, tmp_path) as hub, pytest.raises(HubError) as caught:
        hub.search("x")
    told(caught.value)


@pytest.mark.parametrize("answer", [*ANYWHERE.values(), *JSON.values(), *LISTED.values()],
                         ids=[*ANYWHERE, *JSON, *LISTED])  # fmt: skip
def test_a_listing_that_is_answered_oddly_is_refused_in_a_sentence(answer: bytes, tmp_path: Path) -> None:
    with answering(answer, tmp_path) as hub, pytest.raises(HubError) as caught:
        hub.repository("owner/name")
    told(caught.value)


@pytest.mark.parametrize("answer", ANYWHERE.values(), ids=ANYWHERE)
def test_a_header_that_is_answered_oddly_is_refused_in_a_sentence(answer: bytes, tmp_path: Path) -> None:
    # A part that is cut short without a word is a damaged header.
    with answering(answer, tmp_path) as hub, pytest.raises((HubError, ArtifactError)) as caught:
        hub.header(QUANT)
    told(caught.value)


def test_a_name_with_a_number_beyond_all_bounds_is_listed_without_parameters(tmp_path: Path) -> None:
    body = b'[{"id": "owner/x-' + b"9" * 500 + b'b"}]'
    with answering(http(body), tmp_path) as hub:
        (found,) = hub.search("x").found
    assert found.parameters is None
