"""The parent's end of a trial run: start the child, read what it tells, end it whatever happens."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import msgspec
from msgspec import Struct

from core.environment import drop_secrets
from core.errors import Cancelled
from core.last_words import LastWords, find_decisive_line, name_signal
from core.telemetry.log import get_logger
from core.trial.child import MARK, Line, TrialRequest, VariantRefused, VariantTried, encode_path

POLL_SECONDS = 0.1
ENDING_SECONDS = 5.0
"""Seconds a child may take to exit after it closed its output."""
LISTENING_SECONDS = 1.0
"""Seconds that the end of a dead child's last words is waited for."""
log = get_logger(__name__)


class TrialOutcome(Struct, frozen=True):
    """All that a child told, and how it ended where it did not end well."""

    lines: tuple[Line, ...]
    trouble: str | None = None
    """`crashed with SIGILL`, `hung for 120 s`, `ended with exit code 1 (ModuleNotFoundError: ...)` ..."""
    late: bool = False
    """It was ended because its time was up."""


class _TimeUp(Exception):
    pass


def run_trial(
    request: TrialRequest,
    timeout: float,
    stop: threading.Event,
    tell: Callable[[Line], None] | None = None,
    limit: float | None = None,
) -> TrialOutcome:
    """Run a child to its end. It never outlives this call, may be silent for `timeout` seconds, takes `limit` in all.

    Raises Cancelled on `stop`.
    """
    lines: list[Line] = []
    with _start_child() as (child, words):
        try:
            for line in _lines(child, request, timeout, stop, limit):
                lines.append(line)
                if tell is not None:
                    tell(line)
            code = child.wait(ENDING_SECONDS)
        except _TimeUp:
            return TrialOutcome(tuple(lines), late=True)
        except (TimeoutError, subprocess.TimeoutExpired):
            return TrialOutcome(tuple(lines), f"hung for {timeout:.0f} s")
        except msgspec.MsgspecError:
            return TrialOutcome(tuple(lines), "answered with garbage")
        finally:
            child.kill()
    trouble = _explain_trouble(code, lines)
    if trouble is None:
        return TrialOutcome(tuple(lines))
    said = words.text(LISTENING_SECONDS)
    log.debug("a trial run ended badly", how=trouble, said=said)
    why = find_decisive_line(said)
    return TrialOutcome(tuple(lines), f"{trouble} ({why})" if why else trouble)


@contextmanager
def _start_child() -> Iterator[tuple[subprocess.Popen[bytes], LastWords]]:
    """A child and what it says on its standard error; it is waited for in the end."""
    words = LastWords()
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.trial.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words.writer,
            env=drop_secrets(os.environ),
        )
    finally:
        words.close_writer()
    with child:
        yield child, words


def _lines(
    child: subprocess.Popen[bytes], request: TrialRequest, timeout: float, stop: threading.Event, limit: float | None
) -> Iterator[Line]:
    """What the child tells, as it comes.

    Raises TimeoutError for silence, _TimeUp at the limit, Cancelled, or a MsgspecError for what is no line.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child.stdout, inbox), daemon=True).start()
    try:
        child.stdin.write(msgspec.json.encode(request, enc_hook=encode_path))
        child.stdin.close()
    except BrokenPipeError:
        # It is dead already, and its exit code will say how.
        return
    deadline = time.monotonic() + timeout
    end = None if limit is None else time.monotonic() + limit
    while True:
        if end is not None and time.monotonic() > end:
            raise _TimeUp
        if stop.is_set():
            raise Cancelled("The trial run was stopped.")
        try:
            raw = inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            continue
        if raw is None:
            return
        if raw.startswith(MARK):
            yield msgspec.json.decode(raw[len(MARK) :], type=Line)
            deadline = time.monotonic() + timeout


def _read(pipe: IO[bytes], inbox: queue.SimpleQueue[bytes | None]) -> None:
    for line in pipe:
        inbox.put(line)
    inbox.put(None)


def _explain_trouble(code: int, lines: list[Line]) -> str | None:
    if code < 0:
        return f"crashed with {name_signal(-code)}"
    if code:
        return f"ended with exit code {code}"
    if not any(isinstance(line, VariantTried | VariantRefused) for line in lines):
        return "ended without a result"
    return None
