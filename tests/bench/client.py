"""A client in a process of its own: streams answers and counts tokens, doing as little else as it can.

    python -m tests.bench.client HOST PORT MODEL STREAMS TOKENS [DIALECT]

DIALECT is `chat`, which it is where none is given, `messages` or `responses`.

Prints one line of JSON: tokens after each stream's first, seconds from the first of any to the last of all, and the
pauses between two deliveries of a stream: that of which 99 in 100 were shorter, and the longest.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Asking:
    """How one dialect is asked, and how its stream is read."""

    path: str
    first: bytes
    """Stands in the first event that has text."""
    usage: re.Pattern[bytes]
    fields: Mapping[str, object]
    messages: str = "messages"
    """The name of the field that has them."""


ASKINGS = {
    "chat": Asking(
        "/v1/chat/completions",
        b'"content":"',
        re.compile(rb'"completion_tokens":\s*(\d+)'),
        {"stream_options": {"include_usage": True}},
    ),
    "messages": Asking("/v1/messages", b"text_delta", re.compile(rb'"output_tokens":\s*(\d+)'), {}),
    "responses": Asking(
        "/v1/responses", b"output_text.delta", re.compile(rb'"output_tokens":\s*(\d+)'), {"store": False}, "input"
    ),
}
TAIL = 4096
"""Bytes of a reply's end in which its usage is looked for."""


class Count:
    """Tokens of all streams, when the first and the last came, and how long each delivery was waited for."""

    def __init__(self) -> None:
        self.tokens = 0
        self.first = 0.0
        self.last = 0.0
        self.pauses: list[float] = []


async def stream(host: str, port: int, asking: Asking, body: bytes, count: Count) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST {asking.path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"{status!r} {(await reader.read())[-500:]!r}")
    tail = b""
    before = 0.0
    while chunk := await reader.read(65_536):
        now = time.perf_counter()
        if before:
            count.pauses.append(now - before)
            count.last = before = now
        elif asking.first in chunk:
            count.first = count.first or now
            count.last = before = now
        tail = (tail + chunk)[-TAIL:]
    writer.close()
    count.tokens += int(asking.usage.findall(tail)[-1])


def write_words(model: str, number: int, tokens: int) -> str:
    """What is said to a model. Echo says it again, a letter a token, and must not run out of letters: what comes then
    has no text, and is not written to anybody."""
    if model == "echo":
        return f"{number} {'and so on ' * (tokens // 10 + 1)}"
    return f"Count to a hundred, please, as number {number} of all."


async def main(host: str, port: int, model: str, streams: int, tokens: int, dialect: str = "chat") -> None:
    count = Count()
    asking = ASKINGS[dialect]
    bodies = [
        {
            "model": model,
            asking.messages: [{"role": "user", "content": write_words(model, number, tokens)}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            **asking.fields,
        }
        for number in range(streams)
    ]
    await asyncio.gather(*(stream(host, port, asking, json.dumps(body).encode(), count) for body in bodies))
    # Short answers may come in one delivery each.
    pauses = sorted(count.pauses) or [0.0]
    seen = {"pause": pauses[len(pauses) * 99 // 100], "longest": pauses[-1]}
    print(json.dumps({"tokens": count.tokens - streams, "seconds": count.last - count.first, **seen}))


if __name__ == "__main__":
    host, port, model, streams, tokens, *dialect = sys.argv[1:]
    asyncio.run(main(host, int(port), model, int(streams), int(tokens), *dialect))
