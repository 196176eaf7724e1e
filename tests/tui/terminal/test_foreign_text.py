"""Answers, names of files and what servers call their models arrive at a real terminal as text: the bytes tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are not for Windows, whose names hold no such characters", allow_module_level=True)

import pexpect

from tests.tui.terminal.terminals import Terminal, elsewhere, running

ATTACKS = (
    "\x1b]52;c;b3duZWQ=\x07",
    "\x1b]0;owned\x07",
    "\x1b]8;;http://owned\x1b\\x\x1b]8;;\x1b\\",
    "\x1b[7777;1H",
    "\x1b[?1049l\x1b[7777J",
    "\x1bc",
    "\x9b7777J\x9d0;owned\x9c",
    "\u202e\u2066",
)
OBEYED = re.compile(
    rb"\x1b\](?:52;c;b3d|0;|8;)|\x1b\[(?:\?1049l\x1b\[)?7777|\x1bc|\xc2[\x80-\x9f]|\xe2\x80\xae|\xe2\x81\xa6"
)
_PLAIN = {"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8"}
NAME = "evil\x1b]0;owned\x07\x9b7777J\u202e[/v2]"


def _assert_text(came: bytes) -> None:
    found = OBEYED.search(came)
    assert found is None, came[max(0, found.start() - 80) : found.end() + 80]


def _answer() -> list[str]:
    prose = "".join(f"{attack} {number} " for number, attack in enumerate(ATTACKS))
    table = f"| {ATTACKS[0]} | {ATTACKS[5]} |\n|---|---|\n| {ATTACKS[1]} | {ATTACKS[6]} |\n"
    return [f"{prose}\n\n", f"```\n{prose}\n```\n\n- {prose}\n\n{table}\n\n", prose, "<think>x</think> the end"]


def test_an_answer_and_the_name_of_its_model_are_text(tmp_path: Path) -> None:
    with elsewhere(NAME, _answer()) as url, running(tmp_path, url, "--port", "0") as terminal:
        terminal.until("ready")
        terminal.type("hello\r")
        terminal.until("<think>x</think> the end")
        terminal.until("finished")
        for key, shown in (("\x1bOP", "here, the catalog"), ("\x1bOQ", "decode tok/s"), ("\x1bOR", "requests")):
            terminal.type(key)
            terminal.until(shown)
        assert terminal.leave() == 0
        _assert_text(terminal.came)


def test_what_is_pasted_is_text_in_the_message_in_its_chip_and_once_it_is_sent(tmp_path: Path) -> None:
    attack = "".join(ATTACKS)
    long = "\r".join(f"{attack} {number}" for number in range(30))
    with running(tmp_path, "echo", "--port", "0") as terminal:
        terminal.until("echo ● ready")
        for text, seen in ((attack, "owned"), (long, "pasted 30 lines")):
            terminal.type(f"\x1b[200~{text}\x1b[201~".encode())
            terminal.until(seen)
        terminal.type("\x1b[Z\r")
        terminal.until("escape closes")
        terminal.type("q \r")
        terminal.until("tok/s")
        assert terminal.leave() == 0
        _assert_text(terminal.came)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A config file whose folder has models of such names."""
    folder = tmp_path / "models"
    folder.mkdir()
    for number, attack in enumerate(ATTACKS):
        (folder / f"m{number}{attack.replace('/', '')}[bold]\nforged.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(16))
    config = tmp_path / "config.toml"
    config.write_text(f"[library]\nfolders = {json.dumps([str(folder)])}\n", encoding="utf-8")
    return config


def test_names_of_files_are_text_on_the_models_screen(tmp_path: Path, library: Path) -> None:
    with running(tmp_path / "home", "echo", "--port", "0", "-C", str(library)) as terminal:
        terminal.until("echo ● ready")
        terminal.type("\x1bOP")
        terminal.until("m0\\x1b]52")
        for _ in range(len(ATTACKS) + 1):
            terminal.type("\x1b[B")
            terminal.until("details")
        # Enter tries to load the one that is selected, and a toast says why that does not go.
        terminal.type("\r")
        terminal.until("cannot be")
        assert terminal.leave() == 0
        _assert_text(terminal.came)


def test_the_list_on_a_terminal_holds_names_as_text_on_a_line_each(tmp_path: Path, library: Path) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "tui.cli.main", "list", "-C", str(library)], dimensions=(60, 200),
        env={**_PLAIN, "BENCHTOP_HOME": str(tmp_path / "home")},
        cwd=str(Path(__file__).parents[3]), timeout=100,
    )  # fmt: skip
    came = child.read()
    child.close()
    _assert_text(came)
    assert rb"\nforged" in came
    assert not re.search(rb"^ *forged", came, re.MULTILINE)


def test_the_list_as_json_is_exact_and_holds_nothing_that_is_obeyed(tmp_path: Path, library: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli.main", "list", "--json", "-C", str(library)],
        env={**_PLAIN, "BENCHTOP_HOME": str(tmp_path / "home")},
        cwd=Path(__file__).parents[3], capture_output=True, check=True, timeout=100,
    )  # fmt: skip
    _assert_text(done.stdout)
    names = [entry["path"] for entry in json.loads(done.stdout)]
    assert any("\x9b7777J" in name for name in names)


def test_a_served_name_and_errors_that_quote_it_are_text(tmp_path: Path) -> None:
    with elsewhere(NAME, ["hello"]) as url:
        with running(tmp_path, "--serve", url, "--port", "0") as terminal:
            terminal.until("Try: curl")
            terminal.child.sendintr()
            terminal.child.expect(pexpect.EOF)
            _assert_text(terminal.came + terminal.child.before)
        with running(tmp_path, "--serve", f"{url}#{NAME}x", "--port", "0") as failed:
            _assert_text(_all_of(failed))
    with running(tmp_path, f"./{ATTACKS[1].replace('/', '')}{ATTACKS[6]}.gguf") as missing:
        _assert_text(_all_of(missing))


def _all_of(terminal: Terminal) -> bytes:
    return bytes(terminal.child.read())
