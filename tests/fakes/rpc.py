"""A second device: llama.cpp's RPC server, which lends this machine's processor as one.

It needs a build of llama.cpp with RPC, of the version that the bindings were made for, in a folder that
`BENCHTOP_TEST_RPC` names: `cmake -DGGML_RPC=ON -DBUILD_SHARED_LIBS=ON`, its `bin`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest
from msgspec import Struct

VARIABLE: Final = "BENCHTOP_TEST_RPC"
START_SECONDS: Final = 20.0


def find_rpc_folder() -> Path:
    """Skips the test where there is none."""
    folder = Path(os.environ.get(VARIABLE, ""))
    if not os.environ.get(VARIABLE) or not (folder / "ggml-rpc-server").exists():
        pytest.skip(f"{VARIABLE} names no folder with llama.cpp's libraries and its ggml-rpc-server")
    return folder


class RpcServer(Struct):
    """A server on loopback."""

    process: subprocess.Popen[bytes]
    endpoint: str
    """`host:port`."""


@contextmanager
def run_rpc_server(folder: Path, *, room: int = 0, free: int = 0) -> Iterator[str]:
    """A server for as long as the context is; `host:port`. `room`: bytes that its process may take in all, libraries
    and threads counted, though it tells of as many as the machine has; `free`: so many beside those that it has when it
    listens; zero for any number."""
    with run_rpc_process(folder) as server:
        if free:
            room = psutil.Process(server.process.pid).memory_info().vms + free
        if room:
            import resource  # Linux has it

            resource.prlimit(server.process.pid, resource.RLIMIT_AS, (room, room))
        yield server.endpoint


@contextmanager
def run_rpc_process(folder: Path, port: int | None = None) -> Iterator[RpcServer]:
    """The same, with its process, on a port of one's own where one is given."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = port or listener.getsockname()[1]
    server = subprocess.Popen(
        [folder / "ggml-rpc-server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A thread sets aside 64 MiB of addresses by itself, which count here.
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    try:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield RpcServer(server, f"127.0.0.1:{port}")
    finally:
        server.kill()
        server.wait()
