"""A client in a process of its own: streams that are written, and a long prompt that comes in beside them.

    python -m tests.bench.gap_client HOST PORT MODEL STREAMS WORDS NUMBER

Prints one line of JSON: the prompt's tokens, seconds from sending it to its first token, and all pauses between two
tokens of a stream meanwhile. `NUMBER` makes the prompt one that no cache knows.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

WARM_TOKENS = 8
"""Of each stream before the prompt is sent."""
STREAM_TOKENS = 2000
COUNTED = re.compile(rb'"prompt_tokens":\s*(\d+)')
SPOKEN = b'"content":"'


class StreamTimes:
    """When the tokens of a stream came."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        self.warm = asyncio.Event()
        self.tail = b""

    def note(self, chunk: bytes) -> None:
        if SPOKEN in chunk:
            self.arrivals.append(time.perf_counter())
        if len(self.arrivals) >= WARM_TOKENS:
            self.warm.set()
        self.tail = (self.tail + chunk)[-4096:]

    def pauses(self, begin: float, end: float) -> list[float]:
        """Between tokens of which the later one came within that time; and since the last one, where none came."""
        pairs = zip(self.arrivals, self.arrivals[1:], strict=False)
        inside = [later - earlier for earlier, later in pairs if later > begin and earlier < end]
        return inside or [end - begin]


async def stream(host: str, port: int, body: dict[str, Any], times: StreamTimes) -> None:
    """Until the answer ends; cancelled, it hangs up."""
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        status = await reader.readline()
        if b" 200 " not in status:
            raise SystemExit(f"{status!r} {(await reader.read())[-500:]!r}")
        while chunk := await reader.read(65_536):
            times.note(chunk)
    finally:
        writer.close()


def ask(model: str, text: str, tokens: int, **more: object) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": False,
        **more,
    }


def write_text(words: int, number: int) -> str:
    return " ".join(f"{number}:{word * 7919 % 1000}" if word % 50 == 0 else "some" for word in range(words))


async def main(host: str, port: int, model: str, streams: int, words: int, number: int) -> None:
    beside = [StreamTimes() for _ in range(streams)]
    writing = [
        asyncio.create_task(stream(host, port, ask(model, f"Count to {1000 + each}, please.", STREAM_TOKENS), times))
        for each, times in enumerate(beside)
    ]
    await asyncio.gather(*(times.warm.wait() for times in beside))
    prompt = StreamTimes()
    began = time.perf_counter()
    await stream(host, port, ask(model, write_text(words, number), 2), prompt)
    first = prompt.arrivals[0]
    await asyncio.sleep(0.3)
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    counted = int(COUNTED.findall(prompt.tail)[-1])
    pauses = [pause for times in beside for pause in times.pauses(began, first)]
    print(json.dumps({"prompt": counted, "seconds": first - began, "pauses": pauses}))


if __name__ == "__main__":
    host, port, model, *numbers = sys.argv[1:]
    asyncio.run(main(host, int(port), model, *map(int, numbers)))
