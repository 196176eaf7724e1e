"""Builds a plugin's wheel and installs it where a fresh process finds it; nothing is fetched for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.fakes.processes import PATIENCE_SECONDS, isolate

HERE = Path(__file__).parent


def install(name: str, folder: Path) -> Path:
    """A folder below `folder` with the plugin `tests/plugins/NAME` installed in it, from a wheel that is built now."""
    source = folder / "source"
    shutil.copytree(HERE / name, source, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    (wheel,) = folder.glob("*.whl")
    # A wheel without compiled parts is installed by being unpacked.
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def environment(site: Path, home: Path) -> dict[str, str]:
    """Of a process that finds what is installed in `site`, and nothing of the user's."""
    return isolate(home, HF_HUB_OFFLINE="1", COLUMNS="120", PYTHONPATH=str(site))


def run(*words: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A Python process that ends by itself: `-m tui.cli.main list`, or `-c CODE`."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def tui(*words: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run("-m", "tui.cli.main", *words, cwd=cwd, env=env)
