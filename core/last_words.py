"""What a child process said before it died, on its standard error: kept within bounds, and the line that tells why."""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import Final

from core.foreign_text import make_printable

KEPT_BYTES: Final = 64 * 1024
"""Bytes of the end of what was said."""
PIECE_BYTES: Final = 16 * 1024
MOST_LINE_CHARACTERS: Final = 300
"""Characters of the line that tells why."""

_TRACEBACK: Final = "Traceback (most recent call last):"
_WHAT: Final = re.compile(r"^\s*what\(\):\s*(?P<said>.*\S)")
"""How C++ reports an exception that was not caught."""
_TELLING: Final = re.compile(
    r"assert|abort\(|error|fatal|terminat|panick|cannot|can't|could not|failed|unable|unsupported|no such|not found"
    r"|out of memory|bad_alloc|illegal|invalid|overflow|violation",
    re.IGNORECASE,
)
_NOISE: Final = re.compile(
    r"^\s*(#\d+\s|\[New LWP|\[Thread debugging|0x[0-9a-f]+\b|warning:|Aborted|Segmentation|\[\d+\]$)"
)
"""Frames and what debuggers say around them; and what merely repeats the signal."""


class LastWords:
    """Reads a pipe to its end on a thread, so that the process at the other end never waits, however much it says."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        """`writer` is for the child, and to be closed here once it has it."""
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, args=(reader,), name="last-words", daemon=True)
        self._thread.start()

    def close_writer(self) -> None:
        os.close(self.writer)

    def text(self, patience: float) -> str:
        """The end of what was said; waits so many seconds for the pipe's end, which a grandchild may hold open."""
        self._thread.join(patience)
        return bytes(self._kept).decode("utf-8", "replace")

    def _read(self, reader: int) -> None:
        try:
            while piece := os.read(reader, PIECE_BYTES):
                self._kept += piece
                del self._kept[:-KEPT_BYTES]
        finally:
            os.close(reader)


def find_decisive_line(said: str) -> str:
    """The line of a process's last words that tells why it died, fit to be shown; "" where there is none.

    That is the exception where Python died of one; else the last complaint of a native library, or its last line.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    found = _exception(lines) or _complaint(lines)
    shown = make_printable(found.strip()).rstrip(".")
    return shown if len(shown) <= MOST_LINE_CHARACTERS else f"{shown[: MOST_LINE_CHARACTERS - 1]}…"


def _exception(lines: list[str]) -> str:
    """Behind the frames of the last traceback, which are indented."""
    starts = [number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)]
    if not starts:
        return ""
    return next((line for line in lines[starts[-1] + 1 :] if not line[0].isspace()), "")


def _complaint(lines: list[str]) -> str:
    told = [line for line in lines if not _NOISE.match(line)]
    for line in reversed(told):
        if what := _WHAT.match(line):
            return what["said"]
        if _TELLING.search(line):
            return line
    return told[-1] if told else ""


def name_signal(number: int) -> str:
    """`SIGILL`; of those that have no name, such as the real-time ones, the number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
