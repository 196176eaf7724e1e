"""What the screen costs: the share of one core that the app's main thread takes while an answer streams, while nothing
happens, and for going back to a long chat; and what it leaves of a model's speed.

The app runs in a process of its own on a pseudo-terminal, with its real driver; this process reads what it draws.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from tests.bench.report import table
from tests.bench.screen_app import AT, KINDS, RATE, Figures

COLUMNS, LINES = 120, 40
CHILD_SECONDS: Final = 400.0


def run(model: Path | None, rounds: int) -> list[str]:
    """The tables, in Markdown; that of a model's speed where one is named."""
    streaming, idle = measure("stream"), measure("rest")
    tables = [
        table(
            f"Main thread while an answer streams at {RATE:.0f} tokens a second, {COLUMNS}x{LINES}, share of one core",
            ("answer", *(f"at {tokens:,} tokens" for tokens in AT)),
            [(kind, *(f"{share:.1%}" for share in streaming.streaming[kind])) for kind in KINDS],
        ),
        table(
            "Going back to a chat of 20,000 tokens",
            ("chat", "seconds", "of the processor"),
            [(kind, *map(float, back)) for kind, back in zip(KINDS, streaming.back, strict=True)],
        ),
        table(
            "Main thread while nothing happens", ("screen", "share"), [(n, f"{s:.2%}") for n, s in idle.idle.items()]
        ),
    ]
    if model is not None:
        tables.append(
            table(
                f"Tokens a second of {model.name}, medians of {rounds}",
                ("decoding threads", "chat on screen", "headless", "ratio"),
                [_compare(model, threads, rounds) for threads in (1, 2)],
            )
        )
    return tables


def _compare(model: Path, threads: int, rounds: int) -> tuple[object, ...]:
    pairs = [
        (measure("decode", model, threads).rates[0], measure("headless", model, threads).rates[0])
        for _ in range(rounds)
    ]
    shown, headless = (median(side) for side in zip(*pairs, strict=True))
    return threads, shown, headless, f"{median(one / other for one, other in pairs):.3f}"


def measure(what: str, model: Path | None = None, threads: int = 1) -> Figures:
    """Run the app on a terminal that somebody reads. Raises RuntimeError where it ends without figures."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        words = [
            sys.executable,
            "-m",
            "tests.bench.screen_app",
            what,
            str(file),
            *([str(model), str(threads)] if model else []),
        ]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BENCHTOP_")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "BENCHTOP_HOME": folder}
        child = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        drawn: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(ours, drawn))
        reader.start()
        try:
            child.wait(CHILD_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        reader.join()
        os.close(ours)
        if not file.exists():
            said = b"".join(drawn)[-3000:].decode("utf-8", "replace")
            raise RuntimeError(f"The app ended with code {child.wait()} and without figures: {said}")
        return msgspec.json.decode(file.read_bytes(), type=Figures)


def _drain(terminal: int, drawn: list[bytes]) -> None:
    """Read what is drawn until the other side is closed, as a terminal does."""
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:
            return
        if not data:
            return
        drawn.append(data)
        del drawn[:-20]
