"""The real program in a real terminal, with the real model: what a user does in the first minute."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are not for Windows", allow_module_level=True)

from tests.tui.terminal.terminals import Terminal, running


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with running(tmp_path, "--port", "0") as terminal:
        yield terminal


def test_a_question_gets_the_answer_of_guide_and_keys_switch_screens(terminal: Terminal) -> None:
    terminal.until("4 chat")
    terminal.until("guide ● ready")
    terminal.type("What is a KV cache?\r")
    terminal.until("tok/s")
    terminal.until("KV", behind="What is a KV cache?")
    terminal.type("\x1bOP")
    terminal.until("built in")
    terminal.type("\x1bOQ")
    terminal.until("decode tok/s")
    terminal.type("\x1bOR")
    terminal.until("requests")
    terminal.type("\x1bOS")
    terminal.until("of 2,048 tokens")
    assert terminal.leave() == 0


def test_ctrl_q_leaves_at_once_even_while_the_model_loads(terminal: Terminal) -> None:
    terminal.until("4 chat")
    assert terminal.leave() == 0
