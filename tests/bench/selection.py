"""What choosing an engine adds to the start of `tui --serve guide`: the first time, and each time later."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.bench.report import table

SERVE = [sys.executable, "-m", "tui.cli.main", "--serve", "guide", "--port", "0"]
BUDGET = 15.0


def run(rounds: int) -> str:
    """The engine that was chosen is the one that the starts without choosing are told to take."""
    with tempfile.TemporaryDirectory() as home:
        first, chosen = _start(home)
        forced = ["--no-benchmark", "--engine", chosen]
        # Once, so that what it needs is in the page cache; then in turn, so that a disturbance hits both alike.
        _start(home, *forced)
        later, without = zip(*((_start(home)[0], _start(home, *forced)[0]) for _ in range(rounds)), strict=True)
    plain = median(without)
    rows = [
        (f"without choosing ({chosen})", plain, min(without), max(without), None, None),
        ("the first time", first, first, first, first - plain, BUDGET),
        ("later", median(later), min(later), max(later), median(later) - plain, 0.05),
    ]
    return table("Choosing an engine", ("start", "median, s", "fastest", "slowest", "added, s", "at most"), rows)


def _start(home: str, *words: str) -> tuple[float, str]:
    """Seconds until the model is served, and with which engine."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [*SERVE, *words],
        env=os.environ | {"BENCHTOP_HOME": str(Path(home))},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        line = next(line for line in child.stdout if line.startswith("Serving "))
        return time.perf_counter() - began, line.split(" with ")[1].split(" at ")[0]
    finally:
        child.terminate()
        child.wait()
