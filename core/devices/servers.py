"""llama.cpp's RPC servers, which lend the devices of other machines."""

from __future__ import annotations

import socket
from typing import Final

from core.devices.endpoints import format_endpoint, read_endpoint
from core.devices.ggml import GgmlLibrary

CONNECT_SECONDS: Final = 3.0
"""That a server may take to be there."""


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
    library.add_server(format_endpoint(endpoint))
