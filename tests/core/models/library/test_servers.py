"""Models of servers on loopback, and servers that do not answer as they should."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.contract.artifact import URL
from core.models.library.scan import Location
from core.models.library.servers import ask_servers


@contextmanager
def serving(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/v1/models"
            self.send_response(status if found else 404)
            self.end_headers()
            self.wfile.write(body if found else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_models_of_a_server_are_listed_by_address_and_name() -> None:
    body = json.dumps({"object": "list", "data": [{"id": "a", "object": "model"}, {"id": "b:7b"}]}).encode()
    with serving(200, body) as url:
        entries = ask_servers([url, f"{url}/v1"])
    assert [entry.name for entry in entries] == [f"{url}#a", f"{url}#b:7b"] * 2
    assert {(entry.format, entry.location) for entry in entries} == {(URL, Location.SERVER)}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(500, b"", "status 500"), (200, b"no JSON", "cannot be read"), (200, b'{"data": 1}', "cannot be read")],
)
def test_a_server_that_answers_wrongly_is_one_entry_with_the_reason(status: int, body: bytes, says: str) -> None:
    with serving(status, body) as url:
        (entry,) = ask_servers([url])
    assert entry.name == url
    assert says in (entry.problem or "")


def test_a_server_that_is_not_there_and_an_address_that_is_none_are_told() -> None:
    with serving(200, b"{}") as url:
        pass
    gone, wrong = ask_servers([url, "http://"])
    assert "does not answer" in (gone.problem or "")
    assert "names no host" in (wrong.problem or "")
    assert ask_servers([]) == ()


@pytest.mark.parametrize("url", ["http://h..x/", "http://xn--/", f"http://{'a' * 70}/"])
def test_a_name_that_no_host_can_have_is_one_entry_with_the_reason(url: str) -> None:
    (entry,) = ask_servers([url])
    assert "no address that can be asked" in (entry.problem or "")


@pytest.mark.parametrize("url", ["http://me:s3cret@host/", "http://me:s3/cret@host", "me:s3cret@host"])
def test_a_password_in_an_address_is_not_shown(url: str) -> None:
    (entry,) = ask_servers([url])
    assert entry.problem is not None
    assert "cret" not in entry.name + entry.problem
    assert "host" in entry.name
