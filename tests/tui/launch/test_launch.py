"""`tui launch` as a user meets it: a process of its own, a server of its own or one that runs, and a program in it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.settings.schema import ServerSettings
from tests.api.conftest import serving, settings_of
from tests.fakes.processes import PATIENCE_SECONDS
from tests.tui.launch.stand_in import EXIT_CODE, build_environment, install_program
from tui.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the program is a script")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    install_program(tmp_path)
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tui.cli.main", "launch", *words]


def launch(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        env=build_environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_server_is_started_the_program_runs_and_both_are_gone(place: Path) -> None:
    done = launch(place, "llm", "echo", "--port", "0", "--", "a", "--print")
    assert done.returncode == EXIT_CODE, done.stderr
    said = told(done)
    assert said["said"] == "It works."
    assert said["words"] == ["a", "--print"]
    assert not Path(said["folder"]).exists()
    assert not [*(place / "home").iterdir()]
    assert "llm talks with echo at http://127.0.0.1:" in done.stderr
    # What the server logged is in its file, and not on the program's screen.
    assert "request" not in done.stderr
    assert '"request"' in (place / "benchtop" / "state" / "benchtop.log").read_text()


def test_a_program_that_a_signal_ended_has_the_exit_code_of_a_shell(place: Path) -> None:
    assert launch(place, "llm", "echo", "--port", "0", "--", "die").returncode == 128 + signal.SIGKILL


def test_what_ends_this_process_is_passed_on_to_the_program(place: Path) -> None:
    child = subprocess.Popen(
        command("llm", "echo", "--port", "0", "--", "wait"),
        env=build_environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 5, errors
    assert not Path(json.loads(line)["folder"]).exists()


def test_on_a_terminal_ctrl_c_is_the_programs(place: Path) -> None:
    import pexpect

    name, *words = command("llm", "echo", "--port", "0", "--", "wait")
    child = pexpect.spawn(name, words, env=build_environment(place), timeout=PATIENCE_SECONDS, encoding="utf-8")
    child.expect('"tty": true')
    child.sendintr()
    child.expect("KeyboardInterrupt")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 128 + signal.SIGINT or child.exitstatus == 1


async def test_a_server_that_runs_is_used_with_the_key_of_the_settings(place: Path) -> None:
    settings = settings_of(server=ServerSettings(port=0, api_keys=("its-key",)))
    async with serving(place / "served", settings) as served:
        words = ("llm", "--port", str(served.server.port), "--api-key", "its-key")
        assert told(await asyncio.to_thread(launch, place, *words))["said"] == "It works."


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For what is refused before a program runs, which this process can do."""
    for name, value in build_environment(place).items():
        monkeypatch.setenv(name, value)
    return place


async def test_why_a_server_that_runs_will_not_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_of(server=ServerSettings(port=0, api_keys=("its-key",)))
    async with serving(here / "served", settings) as served:

        async def refused(*words: str) -> str:
            code = await asyncio.to_thread(main, ["launch", "llm", *words, "--port", str(served.server.port)])
            assert code == 2
            return capsys.readouterr().err

        without = await refused()
        assert "asks for a key, and the settings have none; set server.api_keys or BENCHTOP_SERVER" in without
        assert "asks for another one than the settings" in await refused("--api-key", "another")
        assert "does not serve none: " in await refused("none", "--api-key", "its-key")
        small = await refused("--api-key", "its-key", "--ctx-size", "128")
        assert "llm needs a context of 256 tokens at least, and echo has 128; give it more with --ctx-size" in small


async def test_what_would_be_set_is_shown_without_the_users_key(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_of(server=ServerSettings(port=0, api_keys=("its-key",)))
    async with serving(here / "served", settings) as served:
        words = ["launch", "llm", "--port", str(served.server.port), "--api-key", "its-key", "--print"]
        assert await asyncio.to_thread(main, words) == 0
    shown = capsys.readouterr().out
    assert "its-key" not in shown
    assert '"benchtop": "***"' in shown
    assert "export LLM_MODEL=echo" in shown


@contextmanager
def foreign_server() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_a_foreign_server_on_the_port_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with foreign_server() as port:
        assert main(["launch", "llm", "echo", "--port", str(port)]) == 2
    assert f"What listens at http://127.0.0.1:{port} is no benchtop" in capsys.readouterr().err


def test_what_listens_and_speaks_no_http_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hang_up(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=(listening,), daemon=True).start()
        assert main(["launch", "llm", "echo", "--port", str(listening.getsockname()[1])]) == 2
    assert "is no benchtop" in capsys.readouterr().err


def test_without_a_server_what_would_be_set_is_shown_and_none_is_started(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", "codex", "--port", "1", "--print", "echo", "--", "exec"]) == 0
    shown = capsys.readouterr().out
    assert "# No server runs at http://127.0.0.1:1" in shown
    assert shown.rstrip().endswith(" exec")


def test_without_a_program_all_are_listed_with_how_they_are_installed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(here / "bin"))
    assert main(["launch"]) == 0
    shown = capsys.readouterr().out
    assert "llm" in shown
    assert "npm install -g @qwen-code/qwen-code" in shown


def test_a_program_that_is_not_there_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "emacs"]) == 2
    assert capsys.readouterr().err.startswith("tui: There is no program 'emacs' to launch; there is claude")
