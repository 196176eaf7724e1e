"""The folder of one run goes with it, whatever the run dies of."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tui.launch.run_folder import make_folder, remove_dead_folders

RUN = """
import subprocess, sys
from pathlib import Path
from tui.launch.run_folder import make_folder
with make_folder("llm", Path(sys.argv[1])) as folder:
    (folder.path / "key").write_text("secret")
    child = subprocess.Popen(["sleep", "100"], pass_fds=folder.held)
    print(child.pid, folder.path, flush=True)
    child.wait()
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes and signals")


@posix
def test_only_its_user_can_look_into_it(tmp_path: Path) -> None:
    with make_folder("llm", tmp_path) as folder:
        assert folder.path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


@posix
def test_what_a_killed_run_has_left_goes_with_the_next_one_once_the_program_has_ended_too(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        child, path = run.stdout.readline().split()
        run.kill()
    left = Path(path)
    with make_folder("llm", tmp_path):
        assert (left / "key").read_text() == "secret"
    subprocess.run(["kill", "-9", child], check=True)
    # Nobody here can wait for another's child; the system frees its lock when it is dead.
    while left.exists():
        remove_dead_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_may_sweep_at_once_and_take_nothing_of_a_run_that_lives(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"llm-{number}").mkdir()
        (tmp_path / f"llm-{number}" / "key").write_text("secret")
        (tmp_path / f"llm-{number}.lock").touch()
    (tmp_path / "codex").mkdir()
    lost: list[Path] = []

    def run() -> None:
        for _ in range(20):
            with make_folder("llm", tmp_path) as folder:
                (folder.path / "key").write_text("secret")
                remove_dead_folders(tmp_path)
                if not (folder.path / "key").exists():
                    lost.append(folder.path)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    # What has no lock is somebody else's.
    assert [each.name for each in tmp_path.iterdir()] == ["codex"]
