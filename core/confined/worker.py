"""The confined process itself, as `core.confined.process` starts it: it obeys orders until its standard input ends.

It is given no secrets and no files. It ends with its standard input, and by an alarm of the system when an order takes
far too long, so nothing is left of it whatever becomes of the workbench.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.confined.wire import ProcessReady, receive_message, send_message

MEMORY_BYTES: Final = 1 << 30
"""Of address space, where the system bounds it."""
ALARM_SECONDS: Final = 20.0
"""After which the system ends the process over one order; the workbench has done it long before."""


def serve_orders(obey: Callable[[bytes], Struct], order_bytes: int) -> None:
    """Answer each order, of `order_bytes` at most, with what `obey` makes of it."""
    pipe, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    _confine()
    send_message(out, ProcessReady())
    # Until here it was of use to know why the process could not start; from now on foreign text could be written there.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with suppress(EOFError, BrokenPipeError):
        while True:
            order = receive_message(pipe, order_bytes)
            _set_alarm(ALARM_SECONDS)
            send_message(out, obey(order))
            _set_alarm(0)


def _confine() -> None:
    # Python's compiler warns of oddities in foreign text, and no user would read the warnings.
    warnings.simplefilter("ignore")
    # Reads the time zone from its file while files may be read.
    time.localtime()
    try:
        import resource
    except ImportError:
        # Windows has no such limits; there the workbench's watch is the only one.
        return
    bounds = {"RLIMIT_AS": MEMORY_BYTES, "RLIMIT_DATA": MEMORY_BYTES, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, bound in bounds.items():
        if (kind := getattr(resource, name, None)) is not None:
            # macOS refuses bounds of memory, and a lower one may be set already.
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (bound, bound))


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        # Its default action ends the process, also amid a computation that lets no Python code run.
        signal.setitimer(signal.ITIMER_REAL, seconds)
