"""The real program, killed in the middle of a conversation: the next start has it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are not for Windows", allow_module_level=True)

from tests.tui.terminal.terminals import running


def test_a_kill_costs_no_chat(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0") as terminal:
        terminal.until("guide ● ready")
        terminal.type("What is a KV cache?\r")
        terminal.until("finished")
        terminal.type("half a message")
        terminal.until("half a message")
        terminal.child.kill(signal.SIGKILL)
    with running(tmp_path, "--port", "0") as terminal:
        terminal.until("finished")
        assert "What is a KV cache?" in terminal.text
        assert terminal.leave() == 0
