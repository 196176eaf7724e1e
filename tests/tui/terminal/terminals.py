"""The real program in a real terminal, and a server elsewhere that says what a test wants said."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pexpect
import pyte

COLUMNS, LINES = 80, 24
PATIENCE = 100.0
"""Seconds: a first start tries the engine in a child process, and the machine may be busy."""


class Terminal:
    """A program on a pseudo-terminal, the bytes that came of it, and the screen it has drawn."""

    def __init__(self, child: pexpect.spawn[bytes]) -> None:
        self.child = child
        self.came = b""
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    def until(self, wanted: str, behind: str = "") -> None:
        """Read until the screen shows `wanted`, behind another text where one is given."""
        end = time.monotonic() + PATIENCE
        while wanted not in (self.text.partition(behind)[2] if behind else self.text):
            if time.monotonic() > end:
                raise AssertionError(f"The screen never showed {wanted!r}:\n{self.text}")
            try:
                self._take(self.child.read_nonblocking(65536, timeout=0.2))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                raise AssertionError(f"The program ended before it showed {wanted!r}:\n{self.text}") from None

    def type(self, keys: str | bytes) -> None:
        self.child.send(keys.encode() if isinstance(keys, str) else keys)

    def leave(self) -> int | None:
        """Quit; the exit code."""
        self.type("\x11")
        return self.ended()

    def ended(self) -> int | None:
        """Wait for the end; the exit code."""
        while not self.child.eof():
            try:
                self._take(self.child.read_nonblocking(65536, timeout=PATIENCE))
            except pexpect.EOF:
                break
        self.child.wait()
        return int(self.child.exitstatus) if self.child.exitstatus is not None else None

    def _take(self, data: bytes) -> None:
        self.came += data
        self._stream.feed(data)


@contextmanager
def running(
    home: Path, *words: str, program: Sequence[str] = ("-m", "tui.cli.main"), **environ: str
) -> Iterator[Terminal]:
    """`tui`, or another program, with these words. Which engine answers is no test's subject, so none is measured."""
    environment = {**os.environ, "TERM": "xterm-256color", "BENCHTOP_HOME": str(home), "TEXTUAL_ANIMATIONS": "none"}
    environment.pop("NO_COLOR", None)
    environment |= {"BENCHTOP_BENCH_ENABLED": "false", **environ}
    child = pexpect.spawn(
        sys.executable,
        [*program, *words],
        env=environment,
        dimensions=(LINES, COLUMNS),
        cwd=str(Path(__file__).parents[3]),
        timeout=PATIENCE,
    )
    try:
        yield Terminal(child)
    finally:
        child.close(force=True)


@contextmanager
def elsewhere(model: str, pieces: Sequence[str]) -> Iterator[str]:
    """A server at the address returned that has one `model`, which answers everything with these `pieces`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send("application/json", json.dumps({"object": "list", "data": [{"id": model}]}))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            deltas = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            lines = [f"data: {json.dumps({'id': 'x', 'model': model, **each})}\n\n" for each in (*deltas, end)]
            self._send("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))

        def _send(self, kind: str, body: str) -> None:
            data = body.encode("utf-8", "surrogatepass")
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
