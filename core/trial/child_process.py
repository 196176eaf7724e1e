"""A child process that is given one request and tells what it finds, line by line; it may die or hang without harm.

The child reads its request as JSON from standard input, and writes each line as `MARK` and JSON to standard output.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from core.environment import drop_secrets
from core.errors import Cancelled
from core.last_words import LastWords, find_decisive_line, name_signal
from core.telemetry.log import get_logger

MARK: Final = b"benchtop-trial:"
POLL_SECONDS: Final = 0.1
ENDING_SECONDS: Final = 5.0
"""Seconds a child may take to exit after it closed its output."""
LISTENING_SECONDS: Final = 1.0
"""Seconds that the end of a dead child's last words is waited for."""
AnyLine = TypeVar("AnyLine")
AnyRequest = TypeVar("AnyRequest")
log = get_logger(__name__)


class ChildOutcome(Struct, Generic[AnyLine], frozen=True):
    """All that a child told, and how it ended where it did not end well."""

    lines: tuple[AnyLine, ...]
    trouble: str | None = None
    """`crashed with SIGILL`, `hung for 120 s`, `ended with exit code 1 (ModuleNotFoundError: ...)` ..."""
    late: bool = False
    """It was ended because its time was up."""


class _TimeUp(Exception):
    pass


def run_child(
    module: str,
    request: Struct,
    decoder: msgspec.json.Decoder[AnyLine],
    timeout: float,
    stop: threading.Event,
    tell: Callable[[AnyLine], None] | None = None,
    limit: float | None = None,
    is_enough: Callable[[], bool] | None = None,
) -> ChildOutcome[AnyLine]:
    """Run a child, whose `main` is in `module`, to its end. It never outlives this call, may be silent for `timeout`
    seconds, and takes `limit` in all, or until it `is_enough`.

    Raises Cancelled on `stop`.
    """
    lines: list[AnyLine] = []
    with _start_child(module) as (child, words):
        try:
            for line in _read_lines(child, request, decoder, timeout, stop, limit, is_enough):
                lines.append(line)
                if tell is not None:
                    tell(line)
            code = child.wait(ENDING_SECONDS)
        except _TimeUp:
            return ChildOutcome(tuple(lines), late=True)
        except (TimeoutError, subprocess.TimeoutExpired):
            return ChildOutcome(tuple(lines), f"hung for {timeout:.0f} s")
        except msgspec.MsgspecError:
            return ChildOutcome(tuple(lines), "answered with garbage")
        finally:
            child.kill()
    if code == 0:
        return ChildOutcome(tuple(lines))
    trouble = f"crashed with {name_signal(-code)}" if code < 0 else f"ended with exit code {code}"
    said = words.text(LISTENING_SECONDS)
    log.debug("a child process ended badly", how=trouble, said=said)
    why = find_decisive_line(said)
    return ChildOutcome(tuple(lines), f"{trouble} ({why})" if why else trouble)


def take_request(kind: type[AnyRequest]) -> tuple[AnyRequest, Callable[[Struct], None]]:
    """In the child: the request, and what tells a line. Standard output is not what it was from then on."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=kind, dec_hook=_read_path)
    # ggml would fork a debugger before it aborts, and a process with the threads of several libraries hangs in that.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    # What native libraries print must not be taken for a result.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def tell(line: Struct) -> None:
        out.write(MARK + msgspec.json.encode(line) + b"\n")
        out.flush()

    return request, tell


@contextmanager
def _start_child(module: str) -> Iterator[tuple[subprocess.Popen[bytes], LastWords]]:
    """A child and what it says on its standard error; it is waited for in the end."""
    words = LastWords()
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words.writer,
            env=drop_secrets(os.environ),
        )
    finally:
        words.close_writer()
    with child:
        yield child, words


def _read_lines(
    child: subprocess.Popen[bytes],
    request: Struct,
    decoder: msgspec.json.Decoder[AnyLine],
    timeout: float,
    stop: threading.Event,
    limit: float | None,
    is_enough: Callable[[], bool] | None,
) -> Iterator[AnyLine]:
    """What the child tells, as it comes.

    Raises TimeoutError for silence, _TimeUp at the limit or when it is enough, Cancelled, or a MsgspecError for what is
    no line.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child.stdout, inbox), daemon=True).start()
    try:
        child.stdin.write(msgspec.json.encode(request, enc_hook=_encode_path))
        child.stdin.close()
    except BrokenPipeError:
        # It is dead already, and its exit code will say how.
        return
    deadline = time.monotonic() + timeout
    end = None if limit is None else time.monotonic() + limit
    while True:
        if (end is not None and time.monotonic() > end) or (is_enough is not None and is_enough()):
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
            yield decoder.decode(raw[len(MARK) :])
            deadline = time.monotonic() + timeout


def _read(pipe: IO[bytes], inbox: queue.SimpleQueue[bytes | None]) -> None:
    for line in pipe:
        inbox.put(line)
    inbox.put(None)


def _encode_path(path: object) -> bytes:
    """Its bytes, which need not be UTF-8 as JSON's strings must; see `_read_path`."""
    assert isinstance(path, Path)
    return os.fsencode(path)


def _read_path(_: type, value: object) -> Path:
    return Path(os.fsdecode(msgspec.convert(value, bytes)))
