"""How soon the program is there: `tui --help`, and the first frame of `tui` on a real terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

import pexpect

from tests.bench.report import table

ROUNDS = 7
TUI = [sys.executable, "-m", "tui.cli.main"]


def run() -> str:
    rows = [
        ("python -c pass", *_summary([_process([sys.executable, "-c", "pass"]) for _ in range(ROUNDS)]), None),
        ("tui --help", *_summary([_process([*TUI, "--help"]) for _ in range(ROUNDS)]), 0.25),
        ("tui, first frame", *_summary([_first_frame() for _ in range(ROUNDS)]), 0.6),
    ]
    return table("Start", ("what", "median, s", "fastest, s", "slowest, s", "at most"), rows)


def _summary(seconds: list[float]) -> tuple[float, float, float]:
    return median(seconds), min(seconds), max(seconds)


def _process(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _first_frame() -> float:
    """Seconds until the footer's first key hint is on the terminal, from before the interpreter starts."""
    began = time.perf_counter()
    child = pexpect.spawn(TUI[0], TUI[1:], dimensions=(24, 80), env={**os.environ, "TERM": "xterm-256color"})
    try:
        child.expect("(?i)models", timeout=30)
        return time.perf_counter() - began
    finally:
        child.terminate(force=True)
