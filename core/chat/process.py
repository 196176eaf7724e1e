"""The workbench's end of a process that renders one chat template: it bounds its time and memory from outside.

Threads that wait here hold no lock of the interpreter, so nothing that a template computes holds up anything but the
requests of its own model.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Final

import msgspec
import psutil

from core.chat.wire import (
    MOST_SOURCE_CHARACTERS,
    REPORT_BYTES,
    Compile,
    Compiled,
    Order,
    Render,
    Rendered,
    Report,
    TemplateBroken,
    TemplateRefused,
    TemplateReply,
    receive_message,
    send_message,
)
from core.foreign_text import make_printable
from core.sizes import format_size

ORDER_SECONDS: Final = 5.0
"""That a template may take for one conversation, or to compile; thousands of times what is usual."""
START_SECONDS: Final = 30.0
"""That Python may take to start, on a machine that is busy with other things."""
MOST_RESIDENT_BYTES: Final = 1_000_000_000
"""Bytes that the process may hold, where the system does not bound it."""
POLL_SECONDS: Final = 0.05
"""Seconds between two looks at a process that works."""
CLOSED: Final = "is not served any more"
GARBAGE: Final = "answers with garbage"
LAST_WORDS_BYTES: Final = 4096
"""Bytes of what a process said before it died that are read."""
KEPT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ", "LANG", "LC_ALL", "LC_TIME")
"""What the process has of this one's environment, where keys and tokens may stand."""


class ProcessEnded(Exception):
    """The process was ended, or ended itself, before it answered; the words are the end of a sentence."""


class TemplateProcess:
    """One template in a process of its own, which is started at once and again after it had to be ended.

    Orders are served one at a time; `close` may be called from any thread, and ends one under way.
    """

    def __init__(self, source: str, seconds: float = ORDER_SECONDS) -> None:
        """`seconds` are those that an order may take."""
        self._source = source
        self._seconds = seconds
        self._turn = threading.Lock()
        self._closed = False
        self._child: _Child | None = _Child()

    @property
    def closed(self) -> bool:
        return self._closed

    def compile(self) -> Compiled | TemplateBroken:
        """What the template is. Raises ProcessEnded."""
        if len(self._source) > MOST_SOURCE_CHARACTERS:
            return TemplateBroken(
                f"it has {len(self._source):,} characters; {MOST_SOURCE_CHARACTERS:,} are the most a template may have"
            )
        with self._turn:
            return self._compiled(self._running())

    def render(self, order: Render) -> TemplateReply:
        """Raises ProcessEnded; UnicodeEncodeError for a text with half a surrogate."""
        with self._turn:
            child = self._running()
            if not child.compiled and isinstance(problem := self._compiled(child), TemplateBroken):
                return problem
            report = self._ask(child, order)
        if isinstance(report, Rendered | TemplateRefused | TemplateBroken):
            return report
        raise ProcessEnded(GARBAGE)

    def close(self) -> None:
        """End the process, and an order under way with it. Nothing can be asked afterwards; idempotent."""
        self._closed = True
        if (child := self._child) is not None:
            child.end()

    def _running(self) -> _Child:
        if self._child is None:
            self._child = _Child()
        if self._closed:
            self._child.end()
            raise ProcessEnded(CLOSED)
        return self._child

    def _compiled(self, child: _Child) -> Compiled | TemplateBroken:
        match self._ask(child, Compile(self._source)):
            case Compiled() as compiled:
                child.compiled = True
                return compiled
            case TemplateBroken() as broken:
                return broken
            case _:
                raise ProcessEnded(GARBAGE)

    def _ask(self, child: _Child, order: Order) -> Report:
        try:
            return child.ask(order, self._seconds)
        except ProcessEnded:
            if self._closed:
                raise ProcessEnded(CLOSED) from None
            # The next one starts while nobody waits for it.
            self._child = None
            self._child = _Child()
            raise


class _Child:
    """One process from its start to its end. Raises ProcessEnded where it could not be started."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "utf8", "-m", "core.chat.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: os.environ[name] for name in KEPT if name in os.environ},
                # A Ctrl-C in the terminal is for the workbench, which may let requests come to their end.
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessEnded(f"has no process to run in: {error.strerror}") from error
        self._ready = False
        self._ended_for = ""
        self.compiled = False

    def ask(self, order: Order, seconds: float) -> Report:
        """Raises ProcessEnded; the process is gone then."""
        if not self._ready:
            self._exchange(None, START_SECONDS)
            self._ready = True
        return self._exchange(order, seconds)

    def end(self) -> None:
        """Idempotent, from any thread."""
        self._process.kill()
        self._process.wait()

    def _exchange(self, order: Order | None, seconds: float) -> Report:
        """Hand over an order, where there is one, and wait for a report."""
        pipe, out = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert out is not None
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over, seconds), name="template watch", daemon=True)
        watch.start()
        try:
            if order is not None:
                send_message(pipe, order)
            report: Report = msgspec.msgpack.decode(receive_message(out, REPORT_BYTES), type=Report)
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            if isinstance(error, UnicodeEncodeError):
                raise
            self.end()
            over.set()
            watch.join()
            raise ProcessEnded(self._ended_for or self._why(error)) from error
        finally:
            over.set()
        return report

    def _watch(self, over: threading.Event, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not over.wait(POLL_SECONDS):
            if time.monotonic() > deadline:
                self._ended_for = f"takes longer than {seconds:g} s"
            elif self._resident() > MOST_RESIDENT_BYTES:
                self._ended_for = f"needs more than {format_size(MOST_RESIDENT_BYTES)} of memory"
            if self._ended_for:
                self._process.kill()
                return

    def _resident(self) -> int:
        with suppress(psutil.Error):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return 0

    def _why(self, error: Exception) -> str:
        if not isinstance(error, EOFError | OSError):
            return GARBAGE
        code = self._process.returncode
        if code < 0 and self._ready:
            return f"ended its process with {_signal_name(-code)}"
        if self._ready:
            return f"ended its process with exit code {code}"
        assert self._process.stderr is not None
        said = self._process.stderr.read(LAST_WORDS_BYTES).decode("utf-8", "replace").strip().splitlines()
        return f"has no process to run in: {make_printable(said[-1])}" if said else "has no process to run in"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
