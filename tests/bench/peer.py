"""llama.cpp's own server, where LLAMA_SERVER names its binary: what we are measured against."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.served import ServedProcess

SERVER_VARIABLE = "LLAMA_SERVER"


@contextmanager
def serve_peer(
    model: Path,
    threads: int,
    *,
    context: int,
    slots: int,
    extra_buffers: bool,
    more: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServedProcess | None]:
    """It while it serves the file, with `context` tokens a slot; None where there is no such server. `more` are further
    options, `environment` is its own, where that is another than ours."""
    binary = os.environ.get(SERVER_VARIABLE)
    if not binary:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = {
        "--model": model,
        "--port": port,
        "--ctx-size": context * slots,
        "--parallel": slots,
        "--threads": threads,
        "--threads-batch": threads,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    extra = [] if extra_buffers else ["--no-repack"]
    with subprocess.Popen(
        [binary, *words, *extra, *more, "--kv-unified"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as server:
        try:
            _wait(port, server)
            yield ServedProcess(port, "m", server.pid)
        finally:
            server.terminate()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise RuntimeError(f"llama-server ended with code {server.returncode}")
