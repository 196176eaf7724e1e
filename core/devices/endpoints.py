"""Addresses of llama.cpp's RPC servers, as users write them and as the ids of their devices have them."""

from __future__ import annotations

from typing import Final

USUAL_PORT: Final = "50052"
"""That ggml-rpc-server takes by itself."""


def read_endpoint(text: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ValueError with a sentence for what is none."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host, port = port, USUAL_PORT
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16 or not text.isprintable():
        raise ValueError(f"{text!r} is no address of an RPC server; write HOST:PORT.")
    return host, int(port)


def format_endpoint(text: str) -> str:
    """`host:port`, with the port where none is written: `RPC0[host:port]` is a device there. Raises ValueError as
    `read_endpoint`."""
    host, port = read_endpoint(text)
    return f"{host}:{port}"
