"""llama.cpp's RPC servers, which lend the devices of other machines."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from typing import Final

from core.devices.endpoints import USUAL_PORT, format_endpoint, read_endpoint
from core.devices.ggml import GgmlLibrary

CONNECT_SECONDS: Final = 3.0
"""That a server may take to be there."""
DYING_SECONDS: Final = 0.3
"""That the process of a server may take to end."""


def add_server(library: GgmlLibrary, endpoint: str) -> None:
    """Add the devices of a server to those of a library. Raises LookupError, whose words are a sentence.

    The library would end the process where nobody listens, so that is tried first.
    """
    if not library.reaches_servers():
        raise LookupError(
            "The llama.cpp that is installed cannot use RPC servers: build llama-cpp-python with -DGGML_RPC=on, or "
            "leave out --rpc."
        )
    check_server(endpoint)
    library.add_server(format_endpoint(endpoint))


def check_server(endpoint: str) -> None:
    """Raises LookupError, whose words are a sentence, where nobody listens."""
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


def list_lost(endpoints: Collection[str]) -> tuple[str, ...]:
    """Those servers of several, `host:port`, where nobody listens."""
    return tuple(endpoint for endpoint in endpoints if _is_lost(endpoint))


def explain_loss(endpoints: Collection[str]) -> str:
    """A sentence for what llama.cpp, which uses these servers, ends the process for: it does not say which was lost.
    Takes DYING_SECONDS and more."""
    # The connection ends before the process of a server that was killed does.
    time.sleep(DYING_SECONDS)
    lost = list_lost(endpoints)
    named = lost or tuple(endpoints)
    several = len(named) != 1
    how = "which does not answer any more" if lost else "which broke off"
    port = read_endpoint(named[0])[1] if named else USUAL_PORT
    return (
        f"llama.cpp failed for want of the RPC server{'s'[:several]} {' and '.join(named)}, {how}, and ends the whole "
        f"process then; see to it that `ggml-rpc-server -H ADDRESS -p {port}` runs there, or leave out --rpc."
    )


def _is_lost(endpoint: str) -> bool:
    try:
        check_server(endpoint)
    except LookupError:
        return True
    return False
