"""Streams through HTTP, read by a client in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import msgspec
from msgspec import Struct


class StreamFigures(Struct, frozen=True):
    """What the client has seen of all its streams together."""

    tokens: int
    """After each stream's first."""
    seconds: float
    """From the first token of any to the last of all."""
    pause: float
    """Seconds between two deliveries of a stream, of which 99 in 100 were shorter."""
    longest: float

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


async def stream_answers(port: int, model: str, streams: int, tokens: int, dialect: str = "chat") -> StreamFigures:
    """`dialect` is one of `tests.bench.client`. Raises RuntimeError where the server does not answer with streams."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.client", "127.0.0.1"),
        *map(str, (port, model, streams, tokens, dialect)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, said = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"The client at port {port} ended: {said[-500:].decode('utf-8', 'replace')}")
    return msgspec.json.decode(output, type=StreamFigures)
