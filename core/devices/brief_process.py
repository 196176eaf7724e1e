"""Short child processes that ask drivers: they may hang where no signal reaches them, and are not waited for then."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence

from msgspec import Struct


class BriefResult(Struct, frozen=True):
    code: int
    out: str
    said: str
    """On standard error."""


def run_briefly(
    words: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> BriefResult | None:
    """What a program printed; None where it took longer than `seconds`. Raises OSError where it cannot be started.

    A process that hangs in a driver outlives its being killed, so a thread waits for its end, and nobody else.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=dict(environment) if environment is not None else None,
        # A Ctrl-C in the terminal is for the workbench.
        start_new_session=True,
    )
    try:
        out, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        threading.Thread(target=process.communicate, name="late process", daemon=True).start()
        return None
    return BriefResult(process.returncode, out, said)
