"""A program in the foreground: the terminal, its signals and its exit code are the program's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from core.errors import UsageError

FROM_TERMINAL: Final = ("SIGINT", "SIGQUIT")
"""What a terminal sends to the program itself as well."""
PASSED_ON: Final = ("SIGTERM", "SIGHUP")
ENDING_SECONDS: Final = 5.0
"""How long a program may take to end when it is told to."""
STOPPING_SECONDS: Final = 0.1
"""How long a signal that stops the program may take to stop this process, too."""


async def run_program(
    command: Sequence[str], environment: Mapping[str, str], log: Path | None, inherited: Sequence[int] = ()
) -> int:
    """Run `command` to its end; its exit code, or 128 and the signal's number. What this process and its libraries
    write on stderr meanwhile goes to the file `log`. `inherited`: descriptors that the program gets.

    Where the program stops itself, as by ctrl+z, this process stops with it. Raises UsageError for what cannot be run.
    """
    with ExitStack() as stack:
        stack.enter_context(_kept_terminal())
        streams = stack.enter_context(_own_streams(log))
        child = _start(command, environment, streams, inherited)
        stack.enter_context(_signals_to(child))
        try:
            code = await _wait_for(child)
        finally:
            if child.returncode is None:
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(ENDING_SECONDS)
                child.kill()
    return code if code >= 0 else 128 - code


def _start(
    command: Sequence[str], environment: Mapping[str, str], streams: tuple[int, int], inherited: Sequence[int]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, env=environment, stdout=streams[0], stderr=streams[1], pass_fds=tuple(inherited)
        )
    except OSError as error:
        raise UsageError(f"The program {command[0]} cannot be run: {error.strerror}.") from error


async def _wait_for(child: subprocess.Popen[bytes]) -> int:
    """On a thread of its own, which a cancelled task leaves behind."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def tell(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def wait() -> None:
        code = child.wait() if sys.platform == "win32" else _wait_or_stop(child.pid)
        child.returncode = code
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, code)

    threading.Thread(target=wait, name="launched", daemon=True).start()
    return await ended


def _wait_or_stop(process: int) -> int:
    """The exit code. While the program is stopped, so is this process: the shell must have the terminal back."""
    while True:
        try:
            _, status = os.waitpid(process, os.WUNTRACED)
        except ChildProcessError:
            return 0
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        # A terminal's ctrl+z stops both; by the time this process goes on, so does the program.
        time.sleep(STOPPING_SECONDS)
        changed, status = os.waitpid(process, os.WCONTINUED | os.WNOHANG)
        if not changed:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif not os.WIFCONTINUED(status):
            return os.waitstatus_to_exitcode(status)


@contextmanager
def _signals_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave to the program what its terminal sends, and pass on what is sent to this process alone."""
    on_terminal = sys.stdin.isatty()

    def ignore(*_: object) -> None:
        """Not SIG_IGN, which the program would inherit."""

    def pass_on(number: int, _: object) -> None:
        child.send_signal(number)

    handlers: dict[str, Callable[..., None]] = dict.fromkeys(PASSED_ON, pass_on)
    handlers |= dict.fromkeys(FROM_TERMINAL, ignore if on_terminal or sys.platform == "win32" else pass_on)
    numbers = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _own_streams(log: Path | None) -> Iterator[tuple[int, int]]:
    """The stdout and stderr that this process had, for the program; its own stderr is the log meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    out, error = os.dup(1), os.dup(2)
    quiet = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(quiet, 2)
    os.close(quiet)
    try:
        yield out, error
    finally:
        sys.stderr.flush()
        os.dup2(error, 2)
        os.close(out)
        os.close(error)


@contextmanager
def _kept_terminal() -> Iterator[None]:
    """A program that dies may leave its terminal without an echo."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
