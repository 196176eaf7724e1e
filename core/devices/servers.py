"""llama.cpp's RPC servers, which lend the devices of other machines."""

from __future__ import annotations

import socket
from typing import Final

from core.devices.ggml import GgmlLibrary

CONNECT_SECONDS: Final = 3.0
"""That a server may take to be there."""


def read_endpoint(text: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ValueError with a sentence for what is none."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        # The port that ggml-rpc-server takes by itself.
        host, port = port, "50052"
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16 or not text.isprintable():
        raise ValueError(f"{text!r} is no address of an RPC server; write HOST:PORT.")
    return host, int(port)


def add_server(library: GgmlLibrary, endpoint: str) -> None:
    """Add the devices of a server to those of a library. Raises LookupError, whose words are a sentence.

    The library would end the process where nobody listens, so that is tried first.
    """
    if not library.reaches_servers():
        raise LookupError(
            "The llama.cpp that is installed cannot use RPC servers: build llama-cpp-python with -DGGML_RPC=on, or "
            "leave out --rpc."
        )
    try:
        host, port = read_endpoint(endpoint)
        socket.create_connection((host.strip("[]"), port), CONNECT_SECONDS).close()
    except ValueError as error:
        raise LookupError(str(error)) from error
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise LookupError(
            f"The RPC server {endpoint} does not answer ({why}); start it there with `ggml-rpc-server -H ADDRESS -p "
            f"{port}`, or leave out --rpc."
        ) from error
    library.add_server(f"{host}:{port}")
