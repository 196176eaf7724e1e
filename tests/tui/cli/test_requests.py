"""`tui requests` and `tui replay`: what a server kept, on the command line."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.capture.ring import CaptureRing
from core.settings.capture import CaptureSettings
from core.settings.schema import ServerSettings, find_folders
from tests.api.conftest import serving
from tests.fakes.captured import exchange_of
from tui.cli.main import main
from tui.cli.requests import find_url

Said = Callable[[], str]
HOSTILE = "\x1b[31mred\x1b[0m"


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CaptureRing]:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    made = CaptureRing(find_folders(), CaptureSettings(requests=10))
    yield made
    made.close()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().out


def fill(ring: CaptureRing) -> None:
    for name, text, answer in (("one", "first\nline", "yes"), ("two", "other\nline", "no")):
        body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
        reply = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
        ring.add(exchange_of(name, body, reply=reply))
    ring.list_lines()


def test_the_list_shows_the_newest_first_and_says_how_to_have_some(ring: CaptureRing, said: Said) -> None:
    assert main(["requests"]) == 0
    assert "--capture" in said()
    fill(ring)
    assert main(["requests"]) == 0
    lines = said().splitlines()
    assert [line.split()[0] for line in lines if line.strip()[:1].isdigit()] == ["2", "1"]
    assert main(["requests", "--json", "--last", "1"]) == 0
    (line,) = json.loads(said())
    assert line["request_id"] == "two"


def test_in_a_narrow_terminal_names_give_way_to_figures(
    ring: CaptureRing, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    body: dict[str, object] = {"model": "a-model-of-a-very-long-name", "messages": []}
    ring.add(replace(exchange_of("one", body), seconds=123.4, first=0.491))
    ring.list_lines()
    assert main(["requests"]) == 0
    told = said()
    for figure in ("no.", "status", "200", "491 ms", "2:03"):
        assert figure in told


def test_one_is_shown_with_its_answer(ring: CaptureRing, said: Said) -> None:
    fill(ring)
    assert main(["requests", "show", "one"]) == 0
    told = said()
    for words in ("messages[0].content:", "  first", "yes"):
        assert words in told
    assert main(["requests", "show", "one", "--raw"]) == 0
    assert '"choices"' in said()
    assert main(["requests", "show", "nobody"]) == 2


def test_what_a_request_holds_drives_no_terminal(ring: CaptureRing, said: Said) -> None:
    body = {"model": HOSTILE, "messages": [{"content": HOSTILE + "\n" + HOSTILE}]}
    ring.add(exchange_of("one", body, reply=json.dumps({"content": HOSTILE}).encode(), path=f"/{HOSTILE}"))
    ring.add(exchange_of("two", {"model": "x\x1b]0;y\x07"}))
    ring.list_lines()
    for words in (
        ["requests"],
        ["requests", "show", "one"],
        ["requests", "diff", "one", "two"],
        ["requests", "export"],
    ):
        main(words)
        assert "\x1b" not in said().replace("\x1b[3", "").replace("\x1b[0m", "").replace("\x1b[1", "")


def test_the_diff_shows_what_differs_of_request_and_answer(ring: CaptureRing, said: Said) -> None:
    fill(ring)
    assert main(["requests", "diff", "one", "two"]) == 1
    told = said()
    for line in ("-  first", "+  other", "-yes", "+no"):
        assert line in told
    assert main(["requests", "diff", "1", "1"]) == 0
    assert "the same" in said()


def test_all_are_exported_and_forgotten(ring: CaptureRing, said: Said, tmp_path: Path) -> None:
    assert main(["requests", "export"]) == 2
    fill(ring)
    assert main(["requests", "export"]) == 0
    assert said().count("curl http://127.0.0.1:8080/v1/chat/completions") == 2
    path = tmp_path / "s.jsonl"
    assert main(["requests", "export", "--scenario", str(path), "two"]) == 0
    assert len(path.read_text("utf-8").splitlines()) == 1
    assert main(["requests", "rm"]) == 2
    assert main(["requests", "rm", "1"]) == 0
    assert main(["requests", "rm", "--all"]) == 0
    assert "Forgot 1 request." in said()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server in a thread of its own."""
    urls: list[str] = []
    there, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(tmp_path / "served") as served:
            urls.append(served.server.url)
            there.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    there.wait(60)
    yield urls[0]
    over.set()
    thread.join()


def test_a_request_and_a_scenario_are_sent_again(ring: CaptureRing, said: Said, server: str, tmp_path: Path) -> None:
    fill(ring)
    assert main(["replay", "one", "--server", f"{server}/v1"]) == 0
    told = said()
    for line in ("-yes", "+first", "+line", "then", "now"):
        assert line in told
    assert main(["replay", "one", "--server", server, "--model", "gone"]) == 1
    assert "gone" in said()
    path = tmp_path / "s.jsonl"
    assert main(["requests", "export", "--scenario", str(path)]) == 0
    assert main(["replay", str(path), "--server", server, "--speed", "0"]) == 0
    assert "2 requests in" in said()


def test_where_no_server_is_that_is_one_sentence(ring: CaptureRing, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ring)
    assert main(["replay", "one", "--server", "http://127.0.0.1:9"]) == 1
    assert "Nothing answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"), [("*", "http://127.0.0.1:81"), ("::1", "http://[::1]:81"), ("box", "http://box:81")]
)
def test_a_server_is_asked_where_this_machine_reaches_it(host: str, url: str) -> None:
    assert find_url(ServerSettings(host=host, port=81)) == url
