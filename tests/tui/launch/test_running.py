"""A program in the foreground, as it stops and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

from tui.launch import running

STOPPING = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"


def test_a_program_that_is_killed_as_soon_as_it_has_stopped_is_told_by_its_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = subprocess.Popen([sys.executable, "-c", STOPPING])

    def kill(_: float) -> None:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(running, "time", SimpleNamespace(sleep=kill))
    child.returncode = running._wait_or_stop(child.pid)
    assert child.returncode == -9
