"""The workbench's end of a process that does what may take for ever, fill the memory or fault.

The process is bounded in time and memory from outside; its time is that of the processor, of which it has what models
leave. Threads that wait here hold no lock of the interpreter, so nothing that the process computes holds up anything
but those who wait for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec
import psutil
from msgspec import Struct

from core.confined.wire import ProcessReady, receive_message, send_message
from core.foreign_text import make_printable
from core.sizes import format_size

START_SECONDS: Final = 30.0
"""That Python may take to start, on a machine that is busy with other things."""
CLOCK_FACTOR: Final = 10
"""How many times as long an order that gives way may take by the clock as by the processor."""
MOST_RESIDENT_BYTES: Final = 1_000_000_000
"""That the process may hold, where the system does not bound it."""
POLL_SECONDS: Final = 0.05
"""Between two looks at a process that works."""
LAST_WORDS_BYTES: Final = 4096
"""Of what a process said before it died that are read."""
KEPT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ", "LANG", "LC_ALL", "LC_TIME")
"""What the process has of this one's environment, where keys and tokens may stand."""
TOLD: Final = {"MALLOC_ARENA_MAX": "1"}
"""What is added to it: glibc would set much of the memory that it may have aside for each of its threads."""
GARBAGE: Final = "answers with garbage"

AnyReport = TypeVar("AnyReport")


class ProcessEnded(Exception):
    """The process was ended, or ended itself, before it answered; the words are the end of a sentence."""


class ProcessUnstarted(ProcessEnded):
    """The process never took an order: the machine is at fault, and not what would have been asked."""


class ConfinedProcess(Generic[AnyReport]):
    """One process from its start to its end. Raises ProcessUnstarted where it cannot be started."""

    def __init__(self, module: str, reports: type[AnyReport], report_bytes: int) -> None:
        """`module` is what runs (see `core.confined.worker`); it answers with one of `reports`, of `report_bytes` at
        most."""
        self._reports = reports
        self._report_bytes = report_bytes
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "utf8", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: os.environ[name] for name in KEPT if name in os.environ} | TOLD,
                # A Ctrl-C in the terminal is for the workbench, which may let requests come to their end.
                process_group=0,
            )
        except OSError as error:
            raise ProcessUnstarted(f"has no process to run in: {error.strerror}") from error
        self._started = False
        self._ended_for = ""
        self._seen = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, order: Struct, seconds: float, by_clock: float) -> AnyReport:
        """What the process makes of the order, which may take `seconds` of the processor, and others by the clock.

        One order at a time. Raises ProcessEnded, and the process is gone then; UnicodeEncodeError for a text with half
        a surrogate.
        """
        if not self._started:
            self._exchange(None, START_SECONDS, START_SECONDS)
            self._started = True
        data = self._exchange(order, seconds, by_clock)
        try:
            return msgspec.msgpack.decode(data, type=self._reports)
        except msgspec.MsgspecError as error:
            self.end()
            raise ProcessEnded(GARBAGE) from error

    def end(self) -> None:
        """Idempotent, from any thread."""
        self._process.kill()
        self._process.wait()

    def _exchange(self, order: Struct | None, seconds: float, by_clock: float) -> bytes:
        """Hand over an order, where there is one, and wait for a message."""
        pipe, out = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert out is not None
        over = threading.Event()
        limits = (over, seconds, by_clock)
        watch = threading.Thread(target=self._watch, args=limits, name="process watch", daemon=True)
        watch.start()
        try:
            if order is not None:
                send_message(pipe, order)
            data = receive_message(out, self._report_bytes)
            if order is None:
                msgspec.msgpack.decode(data, type=ProcessReady)
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            if isinstance(error, UnicodeEncodeError):
                raise
            self.end()
            over.set()
            watch.join()
            kind = ProcessEnded if self._started else ProcessUnstarted
            raise kind(self._ended_for or self._why(error)) from error
        finally:
            over.set()
        return data

    def _watch(self, over: threading.Event, seconds: float, by_clock: float) -> None:
        deadline = time.monotonic() + by_clock
        spent, _ = self._look()
        while not over.wait(POLL_SECONDS):
            used, resident = self._look()
            if used - spent > seconds or time.monotonic() > deadline:
                self._ended_for = f"takes longer than {seconds:g} s"
            elif resident > MOST_RESIDENT_BYTES:
                self._ended_for = f"needs more than {format_size(MOST_RESIDENT_BYTES)} of memory"
            if self._ended_for:
                self._process.kill()
                return

    def _look(self) -> tuple[float, int]:
        """Seconds of the processor and bytes of memory that the process has taken."""
        with suppress(psutil.Error), self._seen.oneshot():
            times = self._seen.cpu_times()
            return times.user + times.system, int(self._seen.memory_info().rss)
        return 0.0, 0

    def _why(self, error: Exception) -> str:
        if not isinstance(error, EOFError | OSError):
            return GARBAGE
        code = self._process.returncode
        if code < 0 and self._started:
            return f"ended its process with {_signal_name(-code)}"
        if self._started:
            return f"ended its process with exit code {code}"
        assert self._process.stderr is not None
        said = self._process.stderr.read(LAST_WORDS_BYTES).decode("utf-8", "replace").strip().splitlines()
        return f"has no process to run in: {make_printable(said[-1])}" if said else "has no process to run in"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
