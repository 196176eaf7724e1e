"""`tui --serve --supervise` as an operator meets it: real processes, which die of real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from msgspec import Struct

from core.capture.ring import CaptureRing
from core.guide import WEIGHTS
from core.settings.capture import CaptureSettings
from core.settings.schema import Folders
from core.supervision import Note, ServerJournal, read_note
from core.usage import UsageAccount, UsageBy
from tests.fakes.processes import PATIENCE_SECONDS, serve_command
from tests.fakes.rpc import find_rpc_folder, run_rpc_process
from tests.tui.cli.test_serve import QUICK, asked, environment
from tui.cli.supervisor import MOST_SERVED_DEATHS, QUICK_SECONDS, Blame, Death

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="deaths by signals are those of POSIX")


class Supervised(Struct):
    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def server(self) -> psutil.Process:
        """The one that serves now."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def health(self) -> dict[str, object]:
        """Waits in the socket's queue while no server is there."""
        with httpx.Client(timeout=PATIENCE_SECONDS) as client:
            while True:
                body = client.get(f"{self.url}/health").json()
                if body["status"] != "loading":
                    return dict(body)

    def ask(self, model: str) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json=asked(model), timeout=PATIENCE_SECONDS)

    def killed(self, number: int) -> None:
        victim = self.server
        victim.send_signal(number)
        victim.wait(PATIENCE_SECONDS)


@contextmanager
def supervised(folder: Path, *words: str, **environ: str) -> Iterator[Supervised]:
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            serve_command(*words, "--supervise", *QUICK),
            env=environment(folder) | environ,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("Serving ")), None)
        assert line is not None, log.read_text()
        yield Supervised(process, line.split(" at ")[1].strip().removesuffix("/v1"), log)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.communicate()


def test_a_server_that_was_killed_comes_back_on_its_ports_and_says_what_it_died_of(tmp_path: Path) -> None:
    with supervised(tmp_path, "guide", "--ollama-port", "0") as under:
        assert under.process.stdout is not None
        told = next(line for line in under.process.stdout if "Ollama" in line)
        ollama = told.split(" at ")[1].strip()
        assert httpx.get(ollama).text == "Ollama is running"
        before = under.health()
        assert (before["restarts"], before["last_death"]) == (0, "")
        under.killed(signal.SIGKILL)
        after = under.health()
        assert after["restarts"] == 1
        assert "died of SIGKILL" in str(after["last_death"])
        assert httpx.get(ollama, timeout=PATIENCE_SECONDS).text == "Ollama is running"
        reply = under.ask("guide")
        assert reply.status_code == 200
        under.process.send_signal(signal.SIGTERM)
        assert under.process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in under.log.read_text()


def test_a_file_that_is_cut_short_while_it_is_mapped_ends_the_server_and_not_the_service(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "abc.gguf").write_bytes(WEIGHTS.read_bytes())
    link = tmp_path / "cut.gguf"
    link.symlink_to(blobs / "abc.gguf")
    with supervised(tmp_path, str(link), "--models", "guide") as under:
        os.truncate(blobs / "abc.gguf", 4096)
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{under.url}/v1/chat/completions", json=asked("cut"), timeout=PATIENCE_SECONDS)
        health = under.health()
        assert health["restarts"] == 1
        assert "died of SIGBUS while 1 request ran on cut" in str(health["last_death"])
        reply = under.ask("guide")
        assert reply.status_code == 200
        assert (
            httpx.post(f"{under.url}/v1/chat/completions", json=asked("cut"), timeout=PATIENCE_SECONDS).status_code
            >= 500
        )


def test_an_rpc_server_that_dies_in_the_middle_of_an_answer_is_named_and_what_ended_before_is_kept(
    tmp_path: Path,
) -> None:
    library = find_rpc_folder()
    with run_rpc_process(library) as server:
        endpoint = server.endpoint
        words = ("guide", "--rpc", endpoint, "--gpu-layers", "all", "--capture", "10")
        with supervised(tmp_path, *words, LLAMA_CPP_LIB_PATH=str(library)) as under:
            assert under.ask("guide").status_code == 200
            endless = asked("guide", stream=True, max_tokens=1500, ignore_eos=True)
            route = f"{under.url}/v1/chat/completions"
            with httpx.stream("POST", route, json=endless, timeout=PATIENCE_SECONDS) as answer:
                lines = answer.iter_lines()
                assert next(lines).startswith("data: ")
                server.process.kill()
                said: list[str] = []
                with suppress(httpx.HTTPError):
                    said += lines
            assert any(f"RPC server {endpoint}, which does not answer any more" in line for line in said)
            assert under.health()["restarts"] == 1
            told = str(under.health()["last_death"])
            assert told.startswith("The server died of SIGABRT while 1 request ran on guide: ")
            assert f"RPC server {endpoint}, which does not answer any more" in told
            assert "see to it that `ggml-rpc-server -H ADDRESS -p" in told
            # The log has it from the server itself, and from what brings it back.
            assert under.log.read_text().count("see to it that `ggml-rpc-server") >= 2
            # The request that was under way is kept, too.
            (row,) = UsageAccount(tmp_path / "state").read(UsageBy.MODEL)
            assert (row.model, row.requests) == ("guide", 2)
            ring = CaptureRing(Folders(tmp_path, tmp_path, tmp_path / "state"), CaptureSettings())
            assert len(ring.list_lines()) == 2
            refused = under.ask("guide")
            assert refused.status_code >= 500
            assert f"The RPC server {endpoint} does not answer" in refused.text
            with run_rpc_process(library, int(endpoint.rpartition(":")[2])):
                end = time.monotonic() + PATIENCE_SECONDS
                # Devices are looked for again after some seconds.
                while under.ask("guide").status_code != 200:
                    assert time.monotonic() < end
                    time.sleep(0.5)


def test_the_key_made_for_a_run_outlives_its_servers(tmp_path: Path) -> None:
    with supervised(tmp_path, "guide", "--host", "0.0.0.0") as under:
        assert under.process.stdout is not None
        told = next(line for line in under.process.stdout if line.startswith("API key"))
        key = told.rsplit(" ", 1)[1].strip()
        under.killed(signal.SIGSEGV)
        models = httpx.get(f"{under.url}/v1/models", headers={"x-api-key": key}, timeout=PATIENCE_SECONDS)
        assert models.status_code == 200
        under.process.send_signal(signal.SIGINT)
        assert under.process.wait(PATIENCE_SECONDS) == 130


def test_a_server_without_its_supervisor_goes(tmp_path: Path) -> None:
    with supervised(tmp_path, "guide") as under:
        orphan = under.server
        under.process.kill()
        orphan.wait(PATIENCE_SECONDS)


def test_a_mistake_on_the_command_line_is_told_once(tmp_path: Path) -> None:
    done = subprocess.run(
        serve_command("no-such-model", "--supervise", *QUICK),
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("no-such-model") == done.stderr.count("\n") == 1


def test_a_model_that_was_being_loaded_when_the_server_died_is_not_loaded_again() -> None:
    blame = Blame()
    blame.add(Death("died of SIGABRT", Note(("a",), {"b": 3})))
    assert blame.refused == {
        "a": "The model a is not loaded any more: the server died of SIGABRT while it was being loaded. "
        "Start the server anew to try it again."
    }


@pytest.mark.parametrize(
    ("cause", "lived", "refused"),
    [("died of SIGSEGV", 1.0, True), ("died of SIGSEGV", QUICK_SECONDS, False), ("died of SIGKILL", 1.0, False)],
)
def test_a_model_is_given_up_that_ends_servers_soon_after_their_start(cause: str, lived: float, refused: bool) -> None:
    blame = Blame()
    for number in range(1, MOST_SERVED_DEATHS + 1):
        assert not blame.refused
        blame.add(Death(cause, Note((), {"a": number}), "", lived))
    assert ("a" in blame.refused) is refused


def test_a_death_is_told_with_what_ran_and_the_last_words() -> None:
    death = Death("died of SIGABRT", Note(("b",), {"a": 2}), "GGML_ASSERT(x) failed")
    assert death.sentence == (
        "The server died of SIGABRT while 2 requests ran on a and b was being loaded; "
        'its last words: "GGML_ASSERT(x) failed".'
    )


def test_what_outside_ended_a_server_is_told_and_no_model_is_blamed_for_it() -> None:
    death = Death("died of SIGABRT", Note(("b",), {"a": 1}, "An RPC server broke off."), "abort", 1.0)
    assert death.sentence == (
        "The server died of SIGABRT while 1 request ran on a and b was being loaded: An RPC server broke off."
    )
    blame = Blame()
    for _ in range(MOST_SERVED_DEATHS):
        blame.add(death)
    assert not blame.refused


def test_the_last_record_of_a_journal_is_whole_whatever_came_before(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"")
    assert read_note(path) == Note()
    journal = ServerJournal(path)
    threads = [threading.Thread(target=journal.asked, args=(f"a model with a long name, {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_note(path).requests) == 8
    journal.loading("b")
    assert read_note(path).loading == ("b",)
    journal.loaded("b")
    journal.settle({})
    assert read_note(path) == Note()
    journal.ending("It is over.")
    assert json.loads(path.read_bytes().split(b"\n")[0]) == {"loading": [], "requests": {}, "outside": "It is over."}
