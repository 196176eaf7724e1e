"""Clients in a process of their own, each of which asks for the vector of one text after another.

    python -m tests.bench.embedding_client PORT MODEL CLIENTS SECONDS KIND

KIND is `new` for texts that were never sent before, `again` for a few that come again and again. Prints one line of
JSON: requests a second, the median of the seconds that one took, and how many there were, those to warm up too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from statistics import median

WORDS = (
    "the quick brown fox jumps over a lazy dog while seven engineers measure how many texts a second their server "
    "turns into vectors, and write that down"
)
"""Some 30 tokens."""
FEW = 16
WARM_UP_SECONDS = 1.0


async def main() -> None:
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4])
    model, again = sys.argv[2], sys.argv[5] == "again"
    stamp, numbers, taken = time.time_ns(), count(), list[float]()
    begin = time.perf_counter() + WARM_UP_SECONDS
    end = begin + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            number = next(numbers)
            text = f"{number % FEW} {WORDS}" if again else f"{stamp} {number} {WORDS}"
            body = json.dumps({"model": model, "input": text, "encoding_format": "base64"}).encode()
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
            whole = await reader.readexactly(length)
            if b" 200 " not in answer.split(b"\r\n")[0]:
                raise SystemExit(f"{answer!r} {whole[-300:]!r}")
            if began >= begin:
                taken.append(time.perf_counter() - began)
            if b"connection: close" in answer:
                # llama-server takes a bounded number of requests on one.
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    print(json.dumps([len(taken) / seconds, median(taken or [seconds]), next(numbers)]))


if __name__ == "__main__":
    asyncio.run(main())
