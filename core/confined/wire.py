"""How the workbench and a process that it confines speak: msgpack, each message with its length before it.

The workbench writes an order and waits for its report, so there is never more than one under way.
"""

from __future__ import annotations

from typing import IO, Final

import msgspec
from msgspec import Struct

LENGTH_BYTES: Final = 4
"""Bytes that tell how many follow."""


class ProcessReady(Struct, frozen=True, tag="started"):
    """The process takes orders; it says so once, unasked."""


def send_message(pipe: IO[bytes], message: Struct) -> None:
    """Raises UnicodeEncodeError for a text with half a surrogate, before anything is written."""
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(LENGTH_BYTES, "big"))
    pipe.write(data)
    pipe.flush()


def receive_message(pipe: IO[bytes], limit: int) -> bytes:
    """The next message as it came. Raises EOFError at the end of the pipe, ValueError for one of more than `limit`
    bytes, of which nothing is read."""
    size = int.from_bytes(_read(pipe, LENGTH_BYTES), "big")
    if size > limit:
        raise ValueError(f"a message of {size} bytes")
    return _read(pipe, size)


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
