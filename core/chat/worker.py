"""The process that renders one model's chat template; `core.chat.process` starts it, bounds it, and ends it.

It is given no secrets and no files. It ends with its standard input, and by an alarm of the system when an order takes
far too long, so nothing is left of it whatever becomes of the workbench.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import msgspec

from core.chat.sandbox import Sandbox
from core.chat.wire import (
    MOST_SOURCE_CHARACTERS,
    MOST_WORDS_CHARACTERS,
    Compile,
    Order,
    RendererReady,
    Report,
    TemplateBroken,
    TemplateRefused,
    receive_message,
    send_message,
)

MEMORY_BYTES: Final = 1 << 30
"""Bytes of address space, where the system bounds it."""
ALARM_SECONDS: Final = 20.0
"""Seconds after which the system ends the process over one order; the workbench has done it long before."""
ORDER_BYTES: Final = 1 << 28
"""More than any order: a conversation is no larger than a request's body."""


def main() -> None:
    pipe, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    _confine()
    send_message(out, RendererReady())
    # Until here it was of use to know why the process could not start; from now on a template could write there.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    sandbox = Sandbox()
    with suppress(EOFError, BrokenPipeError):
        while True:
            _serve(sandbox, pipe, out)


def _serve(sandbox: Sandbox, pipe: IO[bytes], out: IO[bytes]) -> None:
    order = msgspec.msgpack.decode(receive_message(pipe, ORDER_BYTES), type=Order)
    _set_alarm(ALARM_SECONDS)
    send_message(out, _bounded(_obeyed(sandbox, order)))
    _set_alarm(0)


def _obeyed(sandbox: Sandbox, order: Order) -> Report:
    if isinstance(order, Compile):
        if len(order.source) > MOST_SOURCE_CHARACTERS:
            return TemplateBroken(
                f"it has {len(order.source):,} characters; {MOST_SOURCE_CHARACTERS:,} are the most a template may have"
            )
        return sandbox.compile(order.source)
    return sandbox.render(order.variables)


def _bounded(report: Report) -> Report:
    """A complaint is a sentence, however much a template has to say."""
    match report:
        case TemplateRefused(words=words) | TemplateBroken(words=words):
            return type(report)(words[:MOST_WORDS_CHARACTERS].encode("utf-8", "replace").decode())
        case _:
            return report


def _confine() -> None:
    # What a template makes Python's compiler warn of is nobody's business.
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


if __name__ == "__main__":
    main()
