"""The workbench's end of an executorch runtime: starts the process, asks it for tokens, and ends it."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import IO, Final

import msgspec

from core.engines.executorch.wire import (
    Done,
    Draw,
    Drawn,
    Halt,
    Order,
    ProgramReady,
    ProgramRefused,
    Report,
    Start,
    receive_message,
    send_message,
)
from core.environment import drop_secrets
from core.errors import Cancelled, EngineFailed
from core.foreign_text import make_printable
from core.last_words import find_decisive_line, name_signal

POLL_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 5.0
"""Seconds a pass under way may take to end after it was told to; then the process is ended."""
KEPT_LINES: Final = 100
"""Lines of what the runtime printed for an order that are kept for an error."""
MOST_LINE_BYTES: Final = 16 * 1024
"""Bytes; what is longer counts as several lines."""
SAID: Final = re.compile(r"^\[(?!cpuinfo)\w+\.\w+:\d+\] (.*\S)")
"""How executorch logs: the file and line, then what happened. What it says of the processor is no error."""


class RuntimeProcess:
    """One process with one program loaded. It serves one `draw` at a time; `close` may be called from any thread."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.engines.executorch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the workbench, which may let requests come to their end.
            start_new_session=True,
            env=drop_secrets(os.environ),
        )
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._printed: list[str] = []
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._readers = (
            threading.Thread(target=_read, args=(self._child.stdout, self._inbox), daemon=True),
            threading.Thread(target=_note, args=(self._child.stderr, self._printed), daemon=True),
        )
        for reader in self._readers:
            reader.start()

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def start(self, path: str, go_on: Callable[[], bool]) -> ProgramReady:
        """Load a program. Raises EngineFailed for one that cannot be run, Cancelled when told not to go on."""
        self._send(Start(path))
        while True:
            if not go_on():
                raise Cancelled
            match self._next():
                case ProgramReady() as ready:
                    return ready
                case None:
                    continue
                case ProgramRefused(reason=reason):
                    raise EngineFailed(self._explained(reason))

    def draw(self, work: Draw, stop: threading.Event) -> Generator[Drawn]:
        """Tokens as they are drawn. Closing the iterator leaves the process idle, or dead.

        Raises Cancelled soon after `stop`, EngineFailed when the program or its process fails.
        """
        self._printed.clear()
        self._send(work)
        over = False
        try:
            while True:
                if stop.is_set():
                    raise Cancelled
                match self._next():
                    case Drawn() as drawn:
                        yield drawn
                    case Done():
                        over = True
                        return
                    case ProgramRefused(reason=reason):
                        over = True
                        raise EngineFailed(self._explained(reason))
        finally:
            if not over and self.alive:
                self._halt()

    def close(self) -> None:
        """End the process; idempotent."""
        self._child.kill()
        self._child.wait()
        for reader in self._readers:
            reader.join(GRACE_SECONDS)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _halt(self) -> None:
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            self._send(Halt())
            while time.monotonic() < deadline:
                if isinstance(self._next(), Done | ProgramRefused):
                    return
        except EngineFailed:
            return
        self.close()

    def _next(self) -> Report | None:
        """The next message; None when none came for a moment. Raises EngineFailed when the process is gone."""
        try:
            data = self._inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None
        if data is None:
            raise EngineFailed(f"The executorch runtime {self._end()}.")
        report: Report = msgspec.msgpack.decode(data, type=Report)
        return report

    def _send(self, order: Order) -> None:
        assert self._child.stdin is not None
        try:
            send_message(self._child.stdin, order)
        except (OSError, ValueError) as error:
            raise EngineFailed(f"The executorch runtime {self._end()}.") from error

    def _end(self) -> str:
        try:
            code = self._child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its output"
        self._readers[1].join(GRACE_SECONDS)
        how = f"crashed with {name_signal(-code)}" if code < 0 else f"ended with exit code {code}"
        return self._explained(how)

    def _explained(self, what: str) -> str:
        """With what the runtime logged first, which tells the reason where a code does not; else its last words."""
        said = (match[1] for line in tuple(self._printed) if (match := SAID.match(line)))
        first = next(said, None)
        told = make_printable(first).rstrip(".") if first is not None else find_decisive_line("\n".join(self._printed))
        return f"{what}: {told}" if told else what


def _read(pipe: IO[bytes], inbox: queue.SimpleQueue[bytes | None]) -> None:
    with suppress(OSError, ValueError):
        while (data := receive_message(pipe)) is not None:
            inbox.put(data)
    inbox.put(None)


def _note(pipe: IO[bytes], printed: list[str]) -> None:
    with suppress(OSError, ValueError):
        while line := pipe.readline(MOST_LINE_BYTES):
            if len(printed) < KEPT_LINES:
                printed.append(line.decode("utf-8", "replace").strip())
