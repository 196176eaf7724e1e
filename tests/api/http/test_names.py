"""What clients write for a model opens neither files nor addresses, at no entry of the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from core.guide import WEIGHTS
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, ProbeSettings, ServerSettings, Settings
from tests.api.conftest import Served, serving
from tests.api.openai.test_audio import WAV

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "the-users-own-key"


class Stranger:
    """A server that notes who asks it, and with which key."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stranger.asked.append((self.path, self.headers.get("authorization")))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(b'{"object": "list", "data": [{"id": "far"}]}')

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Served, Stranger]]:
    settings = Settings(
        server=ServerSettings(port=0),
        model=ModelSettings(remote_api_key=KEY, ctx_size=256, slots=1, threads=1),
        bench=BenchSettings(enabled=False),
        probe=ProbeSettings(enabled=False),
    )
    with stranger() as far:
        async with serving(tmp_path_factory.mktemp("doors"), settings) as served:
            yield served, far


def written(far: Stranger, here: Path) -> list[str]:
    """Ways to write an address, and a file that is there."""
    file = here / "hidden.gguf"
    file.write_bytes(WEIGHTS.read_bytes())
    (here / "linked").symlink_to(file)
    paths = [
        *(f"http://{far.address}", f"HTTP://{far.address}/v1", f"http:/\\{far.address}", f"//{far.address}"),
        *(f"ht\ttp://{far.address}", f"\uff48\uff54\uff54\uff50://{far.address}"),
        *(str(file), f"file://{file}", str(here / "linked"), str(here), f"//{file}", f"{here}/../{here.name}/linked"),
        *("./hidden.gguf", "hidden.gguf", "linked", "./linked", "deeper/../hidden.gguf", "%2e/hidden.gguf"),
    ]
    blanks = ("", " ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\ufeff", "\u2028")
    return [f"{blank}{path}{end}" for path in paths for blank in blanks for end in ("", blank)]


async def asks(http: httpx.AsyncClient, name: str) -> list[httpx.Response]:
    """The same name at every entry that takes one."""
    talk = {"model": name, "messages": [{"role": "user", "content": "x"}]}
    return [
        await http.post("/v1/chat/completions", json=talk),
        await http.post("/v1/chat/completions", json=talk | {"stream": True}),
        await http.post("/v1/embeddings", json={"model": name, "input": "x"}),
        *[
            await http.post(f"/v1/audio/{kind}", data={"model": name}, files={"file": ("a.wav", WAV)})
            for kind in ("transcriptions", "translations")
        ],
        *[await http.post(f"/v1/models/{what}", json={"model": name}) for what in ("load", "unload", "pin")],
        await http.post("/v1/downloads", json={"model": name}),
        await http.get("/v1/fit", params={"model": name}),
        await http.get(f"/v1/models/{quote(name, safe='')}"),
    ]


async def test_no_way_to_write_a_place_opens_it_at_any_entry(
    world: tuple[Served, Stranger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, far = world
    monkeypatch.chdir(tmp_path)
    for name in written(far, tmp_path):
        for answer in await asks(served.http, name):
            assert answer.status_code in (400, 404), (name, answer.request.url, answer.text)
    assert far.asked == []
    assert [model.name for model in served.workbench.snapshot().models] == ["echo"]


async def test_whether_a_file_is_there_cannot_be_told_from_an_answer(
    world: tuple[Served, Stranger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, _ = world
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "there").write_bytes(b"x")
    said = []
    for name in ("owner/there", "owner/gone"):
        answers = [await served.chat(model=name), await served.http.post("/v1/models/load", json={"model": name})]
        said.append([(each.status_code, each.text.replace(name, "NAME")) for each in answers])
    assert said[0] == said[1]


async def test_blanks_around_the_name_of_a_served_model_mean_nothing(world: tuple[Served, Stranger]) -> None:
    served, _ = world
    for blank in (" ", "\t", "\u00a0", "\u200b", "\ufeff"):
        name = f"{blank}echo{blank}"
        assert (await served.chat(model=name)).status_code == 200
        assert (await served.http.post("/v1/models/pin", json={"model": name, "pinned": False})).status_code == 200
        assert (await served.http.get(f"/v1/models/{quote(blank)}echo")).json()["id"] == "echo"


async def test_what_the_user_named_is_a_clients_too_and_gets_the_key(tmp_path: Path) -> None:
    with stranger() as far:
        settings = Settings(
            server=ServerSettings(port=0),
            model=ModelSettings(remote_api_key=KEY),
            models={"far away": Profile(source=f"http://{far.address}")},
        )
        async with serving(tmp_path, settings, model=None) as served:
            answer = await served.http.post("/v1/models/load", json={"model": " far away"})
            assert answer.status_code == 200, answer.text
            assert far.asked == [("/v1/models", f"Bearer {KEY}")]


async def test_a_redirect_of_a_server_takes_the_key_nowhere(tmp_path: Path) -> None:
    with stranger() as far:

        class Sending(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("location", f"http://{far.address}/v1/models")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        sending = ThreadingHTTPServer(("127.0.0.1", 0), Sending)
        thread = threading.Thread(target=sending.serve_forever)
        thread.start()
        try:
            source = f"http://127.0.0.1:{sending.server_address[1]}"
            settings = Settings(
                server=ServerSettings(port=0),
                model=ModelSettings(remote_api_key=KEY),
                models={"sent on": Profile(source=source)},
            )
            async with serving(tmp_path, settings, model=None) as served:
                answer = await served.http.post("/v1/models/load", json={"model": "sent on"})
                assert answer.status_code == 500
        finally:
            await asyncio.to_thread(sending.shutdown)
            thread.join()
            sending.server_close()
        assert far.asked == []


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\0", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u202e"])
async def test_an_answer_calls_its_model_by_the_name_without_the_blanks_around_it(
    world: tuple[Served, Stranger], blank: str
) -> None:
    served, _ = world
    answer = await served.chat(model=f"{blank}echo{blank}")
    assert answer.json()["model"] == "echo"
    streamed = await served.chat(model=f"{blank}echo", stream=True)
    assert '"model":"echo"' in streamed.text
