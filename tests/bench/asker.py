"""A client in a process of its own that sends what it is told, one request after another, and says how long each took.

    python -m tests.bench.asker

A line of its input is a port and the JSON of a chat request; for each it prints the seconds until the whole answer was
there, and how many tokens of the prompt the server had not to compute.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.client import HTTPConnection


class Asker:
    """The other end of such a process."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def ask(self, port: int, model: str, messages: Sequence[Mapping[str, str]]) -> tuple[float, int]:
        """Seconds until the first token of an answer is there, which is all of it, and cached tokens of the prompt."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0}
        self._child.stdin.write(f"{port} {json.dumps(body)}\n".encode())
        seconds, cached = (await self._child.stdout.readline()).split()
        return float(seconds), int(cached)


@asynccontextmanager
async def run_asker() -> AsyncIterator[Asker]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.asker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    try:
        yield Asker(child)
    finally:
        child.stdin.close()
        await child.wait()


def main() -> None:
    for line in sys.stdin:
        port, _, body = line.partition(" ")
        connection = HTTPConnection("127.0.0.1", int(port))
        began = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", body.strip(), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        data = reply.read()
        seconds = time.perf_counter() - began
        connection.close()
        if reply.status != 200:
            raise SystemExit(f"{reply.status} {data[-500:]!r}")
        print(seconds, json.loads(data)["usage"]["prompt_tokens_details"]["cached_tokens"], flush=True)


if __name__ == "__main__":
    main()
