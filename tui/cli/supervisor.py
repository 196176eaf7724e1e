"""`tui --serve --supervise`: a parent that holds the port, starts the server as a child, and brings a dead one back.

The parent imports no engine and no web framework, so there is little that it could die of. Clients that connect while
no server is there wait in the queue of the socket, which the parent never closes; where a system cannot hand sockets
on (Windows), the next server binds the port anew.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from api.transport.listening import ServerSockets, open_server_sockets, read_port
from core.foreign_text import make_printable
from core.hosts import is_loopback
from core.settings.keys import has_keys
from core.supervision import VARIABLE, Handover, Note, Past, read_note
from tui.cli.output import pass_on, write_error

if TYPE_CHECKING:
    from types import FrameType

    from core.settings.schema import Settings

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
FINAL: Final = (OK, USAGE, INTERRUPTED)
"""Exit codes of a server that ended as it should, or that starting again would not mend."""
QUICK_SECONDS: Final = 30.0
"""A server that lived for less died at once."""
MOST_QUICK_DEATHS: Final = 5
"""Deaths at once, in a row, after which it is given up."""
FIRST_WAIT_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 30.0
MOST_SERVED_DEATHS: Final = 2
"""Deaths while a model served requests, after which it is not loaded again."""
TURN_SECONDS: Final = 1.0
"""How long a wait may be deaf to signals where they do not end it (Windows)."""
TELLING: Final = re.compile(r"assert|abort|fatal|terminate|what\(\)|error|failed|killed", re.IGNORECASE)
EVERYDAY: Final = re.compile(r"^\S+ \[(?:info|debug)\s*\]|^tui: ")
LAST_LINES: Final = 60
MOST_WORDS_CHARACTERS: Final = 300
HINTS: Final = {
    "SIGKILL": "; a system that runs out of memory does that",
    "SIGBUS": "; a file in use that is cut short or cannot be read does that",
}


class Death(Struct, frozen=True):
    """How a server ended, and what it was about."""

    cause: str
    """`died of SIGSEGV`, `ended with exit code 1`."""
    note: Note
    words: str = ""
    """The most telling of the last lines it wrote; empty where it wrote none."""
    lived: float = 0.0
    """Seconds."""

    @property
    def sentence(self) -> str:
        running = sum(self.note.requests.values())
        about = [f"{running} request{'s'[: running != 1]} ran on {_listed(self.note.requests)}"] if running else []
        about += [f"{_listed(self.note.loading)} was being loaded"] if self.note.loading else []
        name = self.cause.rsplit(" ", 1)[-1]
        when = f" while {' and '.join(about)}" if about else ""
        if self.note.outside:
            return f"The server {self.cause}{when}: {make_printable(self.note.outside)}"
        said = f'; its last words: "{self.words}"' if self.words else ""
        return f"The server {self.cause}{when}{HINTS.get(name, '')}{said}."


class Blame:
    """Which models are not to be loaded again: pure bookkeeping over deaths."""

    def __init__(self) -> None:
        self._served: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        """By name, with the reason."""

    def add(self, death: Death) -> None:
        """A model that was being loaded is to blame at once; one that served, when it happens twice soon after a start.

        SIGKILL comes from outside, so it tells nothing of a model that served; nor does what the server itself put down
        to something outside.
        """
        if death.note.outside:
            return
        for model in death.note.loading:
            self._refuse(model, f"the server {death.cause} while it was being loaded")
        if death.note.loading:
            return
        if death.lived >= QUICK_SECONDS or death.cause.endswith("SIGKILL"):
            return
        for model in death.note.requests:
            self._served[model] += 1
            if self._served[model] >= MOST_SERVED_DEATHS:
                times = "twice" if self._served[model] == 2 else f"{self._served[model]} times"
                self._refuse(model, f"the server {death.cause} while it answered, {times} by now")

    def _refuse(self, model: str, why: str) -> None:
        self.refused[model] = f"The model {model} is not loaded any more: {why}. Start the server anew to try it again."


def supervise_server(words: Sequence[str], settings: Settings) -> int:
    """Serve with the arguments `words` of `tui`, until a signal comes or it is hopeless; returns the exit code.

    Raises ServerError when the port cannot be had.
    """
    sockets = open_server_sockets(settings.server.host, settings.server.port, settings.ollama.port)
    needed = not has_keys(settings.server) and not is_loopback(settings.server.host)
    key = secrets.token_urlsafe(24) if needed else None
    handle, name = tempfile.mkstemp(prefix="benchtop-", suffix=".journal")
    os.close(handle)
    try:
        return _Supervisor(words, sockets, key, Path(name)).run()
    finally:
        Path(name).unlink(missing_ok=True)
        sockets.close()


class _Supervisor:
    def __init__(self, words: Sequence[str], sockets: ServerSockets, key: str | None, journal: Path) -> None:
        self._command = [sys.executable, "-P", "-m", "tui.cli.main", *words]
        self._sockets = sockets
        self._key = key
        self._journal = journal
        self._port = read_port(sockets.main) or 0
        self._ollama_port = read_port(sockets.ollama)
        self._blame = Blame()
        self._restarts = 0
        self._last = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: int | None = None
        """The first signal that asked it to end; None while none has."""
        self._woken = threading.Event()
        self._lines: deque[str] = deque(maxlen=LAST_LINES)

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._came)
        quick = 0
        while True:
            began = time.monotonic()
            code = self._serve()
            if self._asked is not None:
                return self._end(max(code, OK))
            if code in FINAL:
                return code
            lived = time.monotonic() - began
            death = Death(_cause(code), read_note(self._journal), _last_words(self._lines), lived)
            self._last = death.sentence
            self._blame.add(death)
            quick = quick + 1 if lived < QUICK_SECONDS else 1
            if quick >= MOST_QUICK_DEATHS:
                write_error(f"{death.sentence} That was the {_nth(quick)} time at once; it is not started again.")
                return 128 - code if code < 0 else FAILED
            wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (quick - 1))
            write_error(f"{death.sentence} It starts again in {wait:g} s.")
            if self._rest(wait):
                return self._end(OK)
            self._restarts += 1

    def _serve(self) -> int:
        """Run one server to its end; its exit code, negative for a signal."""
        self._lines.clear()
        self._journal.write_bytes(b"")
        inherits = sys.platform != "win32"
        if not inherits:
            self._sockets.close()
        main, ollama = (
            tuple(each.fileno() for each in sockets) if inherits else ()
            for sockets in (self._sockets.main, self._sockets.ollama)
        )
        past = Past(self._restarts, self._last, self._blame.refused)
        handover = Handover(past, str(self._journal), self._port, main, self._ollama_port, ollama, self._key)
        child = subprocess.Popen(
            self._command,
            # ggml's own backtrace takes a debugger, in which an aborting process may hang instead of ending.
            env={"GGML_NO_BACKTRACE": "1"} | os.environ | {VARIABLE: msgspec.json.encode(handover).decode()},
            # It reads its end of this to the end of us: a server without a supervisor drains and goes.
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(*main, *ollama),
            # A terminal's Ctrl-C goes to every process of a group, and a server takes the second one as a hurry.
            start_new_session=inherits,
        )
        self._child = child
        assert child.stderr is not None
        reader = threading.Thread(target=self._read, args=(child.stderr,), daemon=True)
        reader.start()
        if self._asked:
            child.terminate()
        ended = threading.Event()
        codes: list[int] = []
        threading.Thread(target=_wait, args=(child, codes, ended), daemon=True).start()
        while not ended.wait(TURN_SECONDS if not inherits else None):
            pass
        # A process that the server started may hold its end of the pipe open.
        reader.join(TURN_SECONDS)
        self._child = None
        return codes[0]

    def _read(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            self._lines.append(make_printable(line))
            pass_on(line)

    def _came(self, number: int, _: FrameType | None) -> None:
        """Pass it on as it came; the second one hurries the server."""
        self._asked = self._asked or number
        self._woken.set()
        if self._child is not None:
            # Refuse clients from now on: no server will answer them.
            self._sockets.close()
            self._child.send_signal(number)

    def _end(self, code: int) -> int:
        """The exit code after a signal, as the server itself has it."""
        return INTERRUPTED if self._asked == signal.SIGINT else code

    def _rest(self, seconds: float) -> bool:
        """Wait; whether a signal came meanwhile."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            self._woken.wait(min(left, TURN_SECONDS))
        return self._asked is not None


def _wait(child: subprocess.Popen[bytes], codes: list[int], ended: threading.Event) -> None:
    """Wait for the child, and as the first process of a container for whatever it left behind."""
    if sys.platform != "win32" and os.getpid() == 1:
        while True:
            number, status = os.waitpid(-1, 0)
            if number == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                break
    codes.append(child.wait())
    ended.set()


def _cause(code: int) -> str:
    if code < 0:
        try:
            return f"died of {signal.Signals(-code).name}"
        except ValueError:
            return f"died of signal {-code}"
    return f"ended with exit code {code if code < 256 else hex(code)}"


def _last_words(lines: Sequence[str]) -> str:
    """The last line that tells of an error, else the last one that is no everyday entry of the log: native code prints
    where it was behind what it says."""
    spoken = [line.strip() for line in lines if line.strip() and not EVERYDAY.search(line)]
    telling = [line for line in spoken if TELLING.search(line)]
    return (telling or spoken or [""])[-1][:MOST_WORDS_CHARACTERS]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(make_printable, names))


def _nth(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
