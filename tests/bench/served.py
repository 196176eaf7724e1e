"""`tui --serve` in a process of its own, as a user starts it, and what it takes of the processor."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from msgspec import Struct

from tests.fakes.processes import isolate, serve_command

STOP_SECONDS = 30.0


class ServedProcess(Struct, frozen=True):
    """A server that listens on loopback."""

    port: int
    model: str
    """The name by which requests ask for it."""
    pid: int

    def read_cpu_seconds(self) -> float:
        """Of the processor, of all threads so far; not of processes that it started."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def serve_tui(home: Path, *words: str) -> Iterator[ServedProcess]:
    """Serve with these words of the command line; everything is kept below `home`."""
    with subprocess.Popen(
        serve_command(*words), env=isolate(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            assert child.stdout is not None
            line = next((line for line in child.stdout if line.startswith("Serving ")), None)
            if line is None:
                raise RuntimeError(f"`tui --serve {' '.join(words)}` ended with code {child.wait()}")
            port = int(line.split(" at ")[1].strip().removesuffix("/v1").rpartition(":")[2])
            yield ServedProcess(port, _find_model(port), child.pid)
        finally:
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


def _find_model(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as reply:
        return str(json.load(reply)["data"][0]["id"])
