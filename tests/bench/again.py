"""A client in a process of its own that sends one body again and again, until its standard input ends.

    python -m tests.bench.again PORT PATH FILE

Prints one line of JSON: how often it had an answer, the last one's status and beginning, and the seconds that the
slowest took.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

SHOWN_BYTES: Final = 400


def main(port: int, path: str, file: Path) -> None:
    body = file.read_bytes()
    over = threading.Event()
    threading.Thread(target=_wait, args=(over,), daemon=True).start()
    answers, status, said, slowest = 0, 0, b"", 0.0
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    while not over.is_set():
        began = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        status, said = reply.status, reply.read()
        slowest = max(slowest, time.perf_counter() - began)
        answers += 1
    shown = said[:SHOWN_BYTES].decode("utf-8", "replace")
    print(json.dumps({"answers": answers, "status": status, "said": shown, "slowest": slowest}))


def _wait(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
