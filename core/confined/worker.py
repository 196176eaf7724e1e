"""The confined process itself, as `core.confined.process` starts it: it obeys orders until its standard input ends.

It is given no secrets, no files and no terminal. It ends with its standard input, and by an alarm of the system when an
order takes far too long, so nothing is left of it whatever becomes of the workbench. An order that takes long gives way
to the models: see `core.priority`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.confined.wire import ProcessReady, receive_message, send_message
from core.priority import PATIENCE_SECONDS, ThreadWork, give_way

MEMORY_BYTES: Final = 1 << 30
"""Of address space, where the system bounds it."""
ALARM_SECONDS: Final = 20.0
"""Of the processor, after which the system ends the process over one order; the workbench has done it long before."""
LONG_ORDER_BYTES: Final = 256 * 1024
"""Bytes of an order that gives way from its beginning."""


def serve_orders(obey: Callable[[bytes], Struct], order_bytes: int, unable: Struct | None = None) -> None:
    """Answer each order, of `order_bytes` at most, with what `obey` makes of it on a thread of its own.

    Where that fails, for want of memory as a rule, the answer is `unable`; without one the process ends.
    """
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
            report = _obey_aside(obey, order) or unable
            if report is None:
                sys.exit(1)
            send_message(out, report)
            _set_alarm(0)


def _obey_aside(obey: Callable[[bytes], Struct], order: bytes) -> Struct | None:
    """None where the thread has failed. It is one for each order: a thread that has given way does so for good."""
    reports: list[Struct] = []
    watched: list[ThreadWork] = []
    done = threading.Event()

    def work() -> None:
        try:
            if len(order) > LONG_ORDER_BYTES:
                give_way()
            else:
                watched.append(ThreadWork())
            reports.append(obey(order))
        finally:
            with ending:
                watched.clear()
            done.set()

    ending = threading.Lock()
    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(PATIENCE_SECONDS):
        with ending:
            if watched and watched[0].lower_late():
                watched.clear()
    thread.join()
    return reports[0] if reports else None


def _confine() -> None:
    # Python's compiler warns of oddities in foreign text, and no user would read the warnings.
    warnings.simplefilter("ignore")
    _leave_terminal()
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


def _leave_terminal() -> None:
    """A session of its own would do it, too. But Linux may share the processor out among sessions, and then a low
    priority counts within one alone."""
    try:
        import fcntl
        import termios
    except ImportError:
        return
    # Most have none.
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        # Its default action ends the process, also amid a computation that lets no Python code run. What gives way may
        # take much longer by the clock.
        signal.setitimer(signal.ITIMER_PROF, seconds)
