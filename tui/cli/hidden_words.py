"""Keys that were given as words of the command line do not stay in what the system shows of the process."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

STAT: Final = Path("/proc/self/stat")
ARGUMENTS_START_INDEX: Final = 45
"""Of the fields behind the program's name; proc_pid_stat(5) counts it as 48, and the end as 49."""
BLOT: Final = ord("*")


def hide_words(secrets: Iterable[str]) -> None:
    """Blot them out of the words that `ps` shows to everybody on this machine. Linux alone keeps these in memory that
    the process itself may write, and where it does not tell the place nothing is done."""
    wanted = [secret.encode("utf-8", "surrogateescape") for secret in secrets if secret]
    if not wanted or sys.platform != "linux":
        return
    try:
        fields = STAT.read_bytes().rpartition(b")")[2].split()
        start, end = (int(field) for field in fields[ARGUMENTS_START_INDEX : ARGUMENTS_START_INDEX + 2])
    except (OSError, ValueError):
        return
    if not 0 < start < end:
        return
    import ctypes

    words = ctypes.string_at(start, end - start)
    for secret in wanted:
        at = words.find(secret)
        while at >= 0:
            ctypes.memset(start + at, BLOT, len(secret))
            at = words.find(secret, at + len(secret))
