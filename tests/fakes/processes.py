"""`tui` in a process of its own, which knows nothing of the user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 120.0


def isolate(home: Path, **told: str) -> dict[str, str]:
    """The environment of a process that keeps everything below `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "BENCHTOP_"))}
    return kept | {"BENCHTOP_HOME": str(home), "HF_HOME": str(home / "hf")} | told


def serve_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tui.cli.main", "--serve", *words, "--port", "0", "--no-benchmark"]


@contextmanager
def serving(log: Path, *words: str, env: Mapping[str, str], cwd: Path | None = None) -> Iterator[str]:
    """The address of a server that runs as long as the block; the process ends in good order, without a traceback in
    the log."""
    with log.open("w") as out:
        child = subprocess.Popen(serve_command(*words), cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=out, text=True)
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
