"""The real program in a real terminal, with the real model: what a user does in the first minute."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are not for Windows", allow_module_level=True)

import pexpect
import pyte

COLUMNS, LINES = 80, 24
PATIENCE = 100.0
"""Seconds: a first start tries the engine in a child process, and the machine may be busy."""


class Terminal:
    """A program on a pseudo-terminal, and the screen it has drawn."""

    def __init__(self, child: pexpect.spawn[bytes]) -> None:
        self.child = child
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    def until(self, wanted: str) -> None:
        """Read until the screen shows `wanted`."""
        end = time.monotonic() + PATIENCE
        while wanted not in self.text:
            if time.monotonic() > end:
                raise AssertionError(f"The screen never showed {wanted!r}:\n{self.text}")
            try:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=0.2))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                raise AssertionError(f"The program ended before it showed {wanted!r}:\n{self.text}") from None

    def type(self, keys: str) -> None:
        self.child.send(keys.encode())


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    environment = {**os.environ, "TERM": "xterm-256color", "BENCHTOP_HOME": str(tmp_path), "TEXTUAL_ANIMATIONS": "none"}
    environment.pop("NO_COLOR", None)
    # Which engine answers is not this test's subject.
    environment["BENCHTOP_BENCH_ENABLED"] = "false"
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tui.cli", "--port", "0"],
        env=environment,
        dimensions=(LINES, COLUMNS),
        cwd=str(Path(__file__).parents[2]),
        timeout=PATIENCE,
    )
    yield Terminal(child)
    child.close(force=True)


def test_a_question_gets_the_answer_of_guide_and_keys_switch_screens(terminal: Terminal) -> None:
    terminal.until("4 chat")
    terminal.until("guide ● ready")
    terminal.type("What is a KV cache?\r")
    terminal.until("tok/s")
    assert "What is a KV cache?" in terminal.text
    assert "KV" in terminal.text.split("What is a KV cache?")[1]
    terminal.type("1")
    terminal.until("built in")
    terminal.type("2")
    terminal.until("decode tok/s")
    terminal.type("3")
    terminal.until("requests")
    terminal.type("4")
    terminal.until("of 2,048 tokens")
    terminal.type("\x11")
    terminal.child.expect(pexpect.EOF)
    terminal.child.wait()
    assert terminal.child.exitstatus == 0


def test_ctrl_q_leaves_at_once_even_while_the_model_loads(terminal: Terminal) -> None:
    terminal.until("4 chat")
    terminal.type("\x11")
    terminal.child.expect(pexpect.EOF)
    terminal.child.wait()
    assert terminal.child.exitstatus == 0
