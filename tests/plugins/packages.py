"""Builds a plugin's wheel and installs it where a fresh process finds it; nothing is fetched for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE_SECONDS = 120.0


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
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "BENCHTOP_"))}
    told = {"BENCHTOP_HOME": str(home), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    return kept | told | {"PYTHONPATH": str(site)}


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


@contextmanager
def serving(*words: str, cwd: Path, env: dict[str, str]) -> Iterator[str]:
    """The address of a server that runs as long as the block, and ends in good order."""
    command = [sys.executable, "-m", "tui.cli.main", "--serve", *words, "--port", "0", "--no-benchmark"]
    log = cwd / "serving.log"
    with log.open("w") as out:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=out, text=True)
    try:
        assert child.stdout is not None
        line = next((line for line in child.stdout if line.startswith("Serving ")), None)
        assert line is not None, log.read_text()
        yield line.split(" at ")[1].strip().removesuffix("/v1")
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_SECONDS) == 0
        assert "Traceback" not in log.read_text()
    finally:
        child.kill()
        child.communicate()
