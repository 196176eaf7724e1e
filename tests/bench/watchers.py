"""Those who watch a server, each in a process of its own: a collector that takes all it is told, and a scraper.

    python -m tests.bench.watchers collect             prints its port
    python -m tests.bench.watchers scrape URL SECONDS  asks for a page every so many seconds; prints how many at its end

Both end with their standard input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class _Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def collect_all() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


def scrape_pages(url: str, seconds: float) -> None:
    over = threading.Event()

    def await_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=await_end, daemon=True).start()
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port)
    pages, due = 0, time.monotonic()
    print("scraping", flush=True)
    while not over.wait(max(0.0, due - time.monotonic())):
        due = max(due + seconds, time.monotonic())
        connection.request("GET", where.path)
        reply = connection.getresponse()
        reply.read()
        pages += reply.status == 200
    print(pages, flush=True)


@asynccontextmanager
async def run_watcher(*words: str) -> AsyncIterator[str]:
    """What it prints first."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.watchers", *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield (await child.stdout.readline()).decode().strip()
    finally:
        child.stdin.close()
        await child.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["collect"]:
            collect_all()
        case ["scrape", address, pause]:
            scrape_pages(address, float(pause))
