"""The command line as a user meets it: exit codes, one sentence for each mistake, never a traceback."""

from __future__ import annotations

import errno
import importlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api.curl import KEY_VARIABLE
from core.engines.registry import EngineReport
from core.hardware import list_network_addresses
from tui.cli import doctor
from tui.cli.arguments import Arguments
from tui.cli.commands import COMMANDS, WORKBENCH, Command, build_parser, guess_command
from tui.cli.doctor import mend_lines
from tui.cli.main import USAGE_STATUS, main

FULL_DISK = Path("/dev/full")
PATIENCE = 60.0


def run(home: Path, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui.cli.main", *words],
        env=os.environ | {"BENCHTOP_HOME": str(home), "COLUMNS": "200"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence on stderr of a command that was refused, behind what a server logs on its way."""
    assert done.returncode == USAGE_STATUS, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    *logged, line = done.stderr.splitlines()
    assert all("[info " in each for each in logged), done.stderr
    assert line.startswith("tui: ")
    assert line.endswith((".", "?"))
    return line


def test_help_names_every_option_and_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; from tui.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'textual', 'litestar', 'uvicorn', 'rich', 'msgspec', 'structlog', 'llama_cpp', 'asyncio'}\n"
        "sys.exit(str(sorted(heavy & sys.modules.keys())) if heavy & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    options = {name for action in build_parser(WORKBENCH)._actions for name in action.option_strings}
    assert options >= {"--serve", "--host", "--port", "-p", "--engine", "-e", "--slots", "--ctx-size", "--threads"}
    assert options >= {"--max-queue", "--queue-timeout", "--api-key", "--log-level", "--config", "-C", "--version"}
    assert options >= {"--models", "--model-ttl", "--memory-limit", "--auto-route", "--route-strategy", "--kv-type"}
    assert all(option in done.stdout for option in options)


def test_the_first_word_of_commands_of_two_words_has_help_that_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: tui cache ls | rm | verify\n")


def test_version_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert done.returncode == 0
    assert re.fullmatch(r"benchtop \d+\.\d+\.\d+\n", done.stdout)


MISTAKES = [
    (["--prot", "80"], "There is no option --prot; did you mean --port?"),
    (["dcotor"], "Did you mean `tui doctor`?"),
    (["benhc", "guide"], "Did you mean `tui bench`?"),
    (["serve", "guide"], "write `tui --serve MODEL`"),
    ([""], "MODEL is empty"),
    (["--serve", ""], "MODEL is empty"),
    (["--serve", "--threads", "9999"], "9999 threads are asked for, and this machine has"),
    (["rm", "guide"], "guide belongs to the program, so it is not deleted here."),
    (["guide"], "The workbench wants a terminal, and there is none"),
    (["--serv"], "did you mean --serve?"),
    (["-z"], "There is no option -z"),
    (["guide", "echo"], "'echo' is one too many"),
    (["--port"], "expected one argument"),
    (["--port", "eighty"], "'eighty'"),
    (["--serve", "--port", "99999"], "server.port"),
    (["--serve", "--slots", "0"], "model.slots"),
    (["--serve", "--queue-timeout", "nan"], "queue.queue_timeout"),
    (["--serve", "--max-queue", "-1"], "queue.max_queue"),
    (["--serve", "--log-level", "loud"], "log.level"),
    (["--serve", "--cors-origin", "https://app.example/path"], "write https://app.example:"),
    (["--serve", "--cors-origin", ""], "Argument --cors-origin: it is empty"),
    (["--serve", "--config", "no-such-file.toml"], "no-such-file.toml"),
    (["--serve", "-C", "no-such-file.json"], "no-such-file.json"),
    (["--serve", "--kv-type", "q9"], "model.kv_type"),
    (["--serve", "--model-ttl", "-1"], "pool.model_ttl"),
    (["--serve", "--memory-limit", "lots"], "pool.memory_limit: 'lots' is no size; write it as 12GB"),
    (
        ["--serve", "--route-strategy", "best"],
        "route.strategy: 'best' is none of complexity, cheapest-that-fits, round-robin.",
    ),
    (["--serve", "--models", " , "], "give the names of models, with commas between them"),
    (["--serve", "--auto-route"], "--auto-route chooses among models, and fewer than two are named"),
    (["--serve", "guide", "--auto-route", "--models", "guide"], "name them with --models a,b or as [models.NAME]"),
    (["--auto-route", "--models", "echo"], "--auto-route chooses among models"),
    (["--serve", "--auto-route", "--models", "no-such-a,echo"], "'no-such-a'"),
    (["config", "--prot", "80"], "There is no option --prot; did you mean --port?"),
    (["config", "pth"], "'pth' is one too many; write `tui config [options]`. Did you mean `tui config path`?"),
    (["config", "path", "more"], "'more' is one too many"),
    (["config", "import"], "FILE is missing; write `tui config import FILE [options]`."),
    (["bench"], "MODEL is missing; write `tui bench MODEL ... [options]`."),
    (["config", "import", "no-such-file.json"], "no-such-file.json cannot be read"),
    (["config", "import", "README.md"], "README.md is not JSON"),
    (["rm"], "NAME is missing; write `tui rm NAME [options]`."),
    (["rm", ""], "it is empty"),
    (["list", "--catlog"], "There is no option --catlog; did you mean --catalog?"),
    (["list", "everything"], "'everything' is one too many; write `tui list [models] [options]`."),
    (["pull", "a", "--concurrency", "three"], "'three' is no whole number"),
    (["bench", "guide", "--rounds", "0"], "--rounds is 1 to 1,000."),
    (["bench", "guide", "--json", "no-such-folder/rows.json"], "No file can be written at no-such-folder"),
    (["chats", "search", ""], "it is empty"),
    (["chats", "ls", "--last", "0"], "0 is too small; give 1 or more"),
    (["requests", "--last", "-3"], "-3 is too small; give 1 or more"),
    (["replay", "7", "--speed", "2"], "--speed is for scenarios, and '7' is no file of one."),
    (["replay", "7", "--speed", "-1"], "--speed is 0 to 1,000,000."),
    (["launch", "claude", "no-such-model", "--port", "1", "--print"], "'no-such-model'"),
    (["chats", "export", "--to", "no-such-folder/all.json"], "No file can be written at no-such-folder"),
    (["requests", "export", "--scenario", "."], "No file can be written at ."),
    (["doctor", "--serve"], "There is no option --serve"),
    (["doctor", "guide"], "'guide' is one too many; write `tui doctor [options]`."),
    (["config", "imprt", "server.json"], "Did you mean `tui config import`?"),
    (["cache"], "`tui cache` is not a whole command; write `tui cache ls | rm | verify`."),
    (["cache", "clear"], "'clear' is one too many; write `tui cache ls | rm | verify`."),
    (["cache", "rm"], "Name a prefix or a model as `tui cache ls` shows them, or say --all."),
    (["config", "--port", "99999"], "server.port"),
    (["config", "-C", "no-such-file.toml"], "no-such-file.toml"),
    (["no-such-model"], "'no-such-model'"),
]
"""Found before anything is started."""

LATE_MISTAKES = [
    (["--serve", "giude"], "Did you mean guide?"),
    (["--serve", "./no-such-file.gguf"], "no-such-file.gguf"),
    (["--serve", "echo", "--port", "0", "--engine", "warp"], "'warp'"),
    (["--serve", "echo", "--port", "0", "--engine", "llamacpp"], "--engine"),
    (["--serve", "echo", "--host", "203.0.113.7", "--api-key", "k"], "--host"),
]
"""Found on the way to a running server."""


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_gets_one_sentence_that_names_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    code = main(words)
    out, err = capsys.readouterr()
    assert said in complaint(subprocess.CompletedProcess(words, code, out, err))


@pytest.mark.parametrize(("words", "said"), LATE_MISTAKES, ids=[" ".join(words) for words, _ in LATE_MISTAKES])
def test_a_server_that_cannot_start_says_why_in_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    assert said in complaint(run(tmp_path, *words))


def test_a_wrong_environment_variable_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "--serve", "echo", environment={"BENCHTOP_SERVER_PROT": "1"})
    assert "BENCHTOP_SERVER_PROT" in complaint(done)


def test_a_damaged_model_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    assert "damaged.gguf" in complaint(run(tmp_path, "--serve", str(path)))
    assert "damaged.gguf" in complaint(run(tmp_path, str(path)))


def test_a_port_in_use_is_told_with_its_number_and_the_mend(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = complaint(run(tmp_path, "--serve", "echo", "--port", port))
    assert port in said
    assert "--port" in said


def test_a_fault_of_ours_is_logged_and_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Arguments) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "run_doctor", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert "a bug" in said
    assert "Traceback" not in said
    assert "ZeroDivisionError" in (tmp_path / "state" / "benchtop.log").read_text()


def test_a_word_that_is_right_gets_no_hint() -> None:
    assert guess_command(next(each for each in COMMANDS if each.name == "config"), ["config", "-C", ""]) == ""


@pytest.mark.skipif(not FULL_DISK.exists(), reason="this system has no device that is always full")
def test_an_output_that_takes_no_more_is_told_and_no_fault_of_ours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tui.cli.main", "config", "path"]
    environment = os.environ | {"BENCHTOP_HOME": str(tmp_path)}
    with FULL_DISK.open("wb") as full:
        done = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "tui: The output cannot be written: No space left on device; free some room.\n"


def test_a_file_that_the_user_may_not_use_is_named_and_no_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(_: Arguments) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/other/token")

    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "run_doctor", forbidden)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert said == "tui: The file /home/other/token cannot be used: Permission denied; mend its permissions.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="links are a privilege there")
@pytest.mark.parametrize("command", ["list", "doctor", "config", "--serve"])
def test_a_config_file_of_which_nobody_can_tell_whether_it_is_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    path = tmp_path / "config" / "config.toml"
    path.parent.mkdir()
    path.symlink_to(path)
    assert main([command]) == USAGE_STATUS
    assert f"tui: The config file {path} cannot be read: " in capsys.readouterr().err


def test_the_doctor_tells_engines_and_the_machine(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor")
    assert done.returncode == 0, done.stderr
    for word in ("llamacpp", "echo", "processor", "memory", "Trial runs"):
        assert word in done.stdout


def test_the_doctor_names_the_command_that_mends_an_engine_in_a_line_of_its_own() -> None:
    missing = EngineReport("x", "any", 1, False, reason="The package x is not installed.", mend="uv sync --extra x")
    there = EngineReport("y", "any", 2, True, version="1")
    assert mend_lines([missing, there]) == [
        "x does not run here: The package x is not installed.",
        "  mend it with: uv sync --extra x",
    ]


def test_the_list_shows_the_built_in_model_and_files_here(tmp_path: Path) -> None:
    done = run(tmp_path, "list")
    assert done.returncode == 0, done.stderr
    assert "guide" in done.stdout


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionError:
        return False
    return True


@contextmanager
def served(home: Path, *words: str, model: str | None = "echo") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address, once it says that it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli.main", "--serve", *([model] if model else []), "--port", "0", *words],
        env=os.environ | {"BENCHTOP_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[^ ]+?:\d+", line)
        assert found, line or (process.stderr.read() if process.stderr else "")
        yield process, found[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_drains_the_server_and_ends_it(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with served(tmp_path) as (process, url):
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE)
        assert reply.json()["choices"][0]["message"]["content"] == "hello"
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        assert "Traceback" not in errors
        told = ("listening", "model is being loaded", "model loaded", "request ended", "request_id=")
        assert [*sorted(told, key=errors.index)] == [*told]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_second_signal_does_not_wait_for_running_requests(tmp_path: Path) -> None:
    with served(tmp_path, "--slots", "1", "--ctx-size", "16777216") as (process, url):
        body = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=PATIENCE) as reply:
            lines = reply.iter_lines()
            assert next(lines).startswith("data: ")
            process.send_signal(signal.SIGINT)
            while accepts(int(url.rpartition(":")[2])):
                pass
            process.send_signal(signal.SIGINT)
            assert any('"code":"server_stopping"' in line for line in lines)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert re.search("stopping; a second signal breaks off .* requests=1 at_most_s=30", errors)


def test_the_printed_curl_line_works_as_it_stands(tmp_path: Path) -> None:
    with served(tmp_path, "--api-key", "it's secret") as (process, _):
        assert process.stdout is not None
        words = shlex.split(process.stdout.readline())
        assert words[:2] == ["Try:", "curl"]
        headers = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
        assert headers["Authorization"] == f"Bearer ${KEY_VARIABLE}"
        headers["Authorization"] = "Bearer it's secret"
        reply = httpx.post(words[2], content=words[words.index("-d") + 1], headers=headers, timeout=PATIENCE)
        assert reply.json()["choices"][0]["message"]["content"] == "What is a KV cache?"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these words where they can be blotted out")
def test_a_key_of_the_command_line_is_not_shown_among_the_processes(tmp_path: Path) -> None:
    with served(tmp_path, "--api-key", "it's secret", "--api-key=another secret") as (process, url):
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"secret" not in shown
        assert shown.count(b"*") == len("it's secret") + len("another secret")
        for key in ("it's secret", "another secret"):
            assert httpx.get(f"{url}/v1/models", headers={"x-api-key": key}, timeout=PATIENCE).status_code == 200


@pytest.mark.skipif(not list_network_addresses(), reason="this machine is on no network")
def test_a_server_for_other_machines_says_where_they_find_it(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0", "--api-key", "k") as (process, url):
        assert process.stdout is not None
        line = process.stdout.readline()
        port = url.rpartition(":")[2]
        found = re.search(rf"Other machines find it at (http://\S+:{port})/v1", line)
        assert found
        assert httpx.get(f"{found[1]}/health", timeout=PATIENCE).status_code == 200


def test_a_key_that_was_made_is_printed(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0") as (process, url):
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("API key"))
        key = line.rsplit(" ", 1)[1].strip()
        assert len(key) >= 32
        assert httpx.get(f"{url}/v1/models", timeout=PATIENCE).status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"x-api-key": key}, timeout=PATIENCE).status_code == 200


def test_options_that_were_not_given_are_left_to_the_settings() -> None:
    flags = build_parser(WORKBENCH).parse(["--serve", "echo", "-p", "9", "--slots", "4"]).flags()
    assert flags == {"server": {"port": 9}, "model": {"slots": 4}}


def test_origins_are_given_one_at_a_time_and_what_drafts_by_name() -> None:
    words = ["--cors-origin", "https://a.example", "--cors-origin", "null", "--draft", "small"]
    flags = build_parser(WORKBENCH).parse(words).flags()
    assert flags["server"]["cors_origins"] == ["https://a.example", "null"]
    assert flags["model"]["draft"] == "small"


CONFIGURED = {
    "list": ["list"],
    "pull": ["pull", "owner/name"],
    "rm": ["rm", "guide"],
    "bench": ["bench", "guide"],
    "doctor": ["doctor"],
    "config": ["config"],
    "launch": ["launch", "llm"],
    "usage": ["usage"],
    "fit": ["fit", "guide"],
    "requests": ["requests"],
    "replay": ["replay", "1"],
}


@pytest.mark.parametrize("words", CONFIGURED.values(), ids=CONFIGURED)
def test_a_config_file_is_named_to_every_command_in_the_same_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    missing = str(tmp_path / "missing.toml")
    assert set(CONFIGURED) == {each.name for each in COMMANDS if " " not in each.name}
    for spelled in ([*words, "-C", missing], [*words, "--config", missing], ["-C", missing, *words]):
        assert main(spelled) != 0
        assert f"The config file {missing} cannot be read" in capsys.readouterr().err


def test_several_models_and_their_settings_are_flags_too() -> None:
    words = ["--models", "guide, echo,", "--model-ttl", "60", "--memory-limit", "8GiB", "--auto-route"]
    given = build_parser(WORKBENCH).parse([*words, "--route-strategy", "round-robin", "--kv-type", "q8_0", "--pull"])
    flags = given.flags()
    assert flags["models"] == {"guide": {}, "echo": {}}
    assert flags["pool"] == {"memory_limit": "8GiB", "model_ttl": 60.0}
    assert flags["route"] == {"auto": True, "strategy": "round-robin"}
    assert flags["model"]["kv_type"] == "q8_0"
    assert given.pull


def options_of(name: str) -> set[str]:
    command = next(each for each in (WORKBENCH, *COMMANDS) if each.name == name)
    return {option for action in build_parser(command)._actions for option in action.option_strings}


def test_the_options_of_config_are_those_of_the_program() -> None:
    assert options_of("") - options_of("config") == {"--serve", "--supervise", "--version", "--pull"}


@pytest.mark.parametrize("command", COMMANDS, ids=[each.name for each in COMMANDS])
def test_every_command_is_in_the_help_and_has_a_help_of_its_own_that_loads_no_command(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.name.split(), "--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert all(option in told for option in options_of(command.name))
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"tui {command.name}" in capsys.readouterr().out
    module, _, function = command.handler.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_path_of_the_config_file_is_printed_alone(tmp_path: Path) -> None:
    usual = run(tmp_path, "config", "path")
    assert usual.stdout == f"{tmp_path / 'config' / 'config.toml'}\n"
    named = run(tmp_path, "config", "path", "-C", "elsewhere.toml")
    assert (named.returncode, named.stdout) == (0, "elsewhere.toml\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_without_a_model_the_first_one_of_the_config_is_served(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[models.parrot]\nsource = "echo"\n[models.guide]\n')
    with served(tmp_path, "-C", str(path), model=None) as (_, url):
        body = {"model": "parrot", "messages": [{"role": "user", "content": "hello"}]}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE)
        assert reply.json()["choices"][0]["message"]["content"] == "hello"


def test_a_model_of_the_config_that_is_not_there_is_told_by_its_source(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[models.m]\nsource = "./no-such-file.gguf"\n')
    assert "no-such-file.gguf" in complaint(run(tmp_path, "--serve", "-C", str(path)))
