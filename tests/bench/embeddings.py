"""Vectors of texts over HTTP: many clients beside one at a time, and beside llama-server on the same file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import msgspec

from tests.bench.peer import serve_peer
from tests.bench.report import table
from tests.bench.served import ServedProcess, serve_tui

CLIENTS = (1, 32)
SECONDS = 4.0
"""That each number of clients asks in a round."""
TEXT_TOKENS = 512
"""Of the context of each of the peer's slots."""
HEAD = ("clients", "texts", "texts/s", "ms a text", "llama-server", "ms a text", "of llama-server", "of one client")


async def run(model: Path, threads: int, rounds: int, *, extra_buffers: bool) -> str:
    """The table, in Markdown: medians of rounds, in which all take turns."""
    rates: dict[tuple[str, int, str], list[tuple[float, float]]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as home,
        serve_tui(Path(home), str(model), *_list_options(threads, extra_buffers=extra_buffers)) as own,
        serve_peer(
            model,
            threads,
            context=TEXT_TOKENS,
            slots=max(CLIENTS),
            extra_buffers=extra_buffers,
            more=("--embedding", "--pooling", "mean"),
        ) as peer,
    ):
        for _ in range(rounds):
            for clients in CLIENTS:
                rates["ours", clients, "new"].append(await _measure(own, clients, "new"))
                if peer is not None:
                    rates["theirs", clients, "new"].append(await _measure(peer, clients, "new"))
                rates["ours", clients, "again"].append(await _measure(own, clients, "again"))
    rows = [_row(rates, clients, kind) for kind in ("new", "again") for clients in CLIENTS]
    title = f"Embeddings of {model.stem}, {threads} thread(s), one text a request, {rounds} round(s) of {SECONDS:g} s"
    return table(title, HEAD, rows)


def _row(rates: dict[tuple[str, int, str], list[tuple[float, float]]], clients: int, kind: str) -> tuple[object, ...]:
    rate, seconds = _medians(rates["ours", clients, kind])
    alone, _ = _medians(rates["ours", 1, kind])
    theirs = rates.get(("theirs", clients, kind))
    other = _medians(theirs) if theirs else None
    beside = (other[0], 1000 * other[1], rate / other[0]) if other else (None, None, None)
    return clients, kind, rate, 1000 * seconds, *beside, rate / alone


def _medians(taken: list[tuple[float, float]]) -> tuple[float, float]:
    return median(rate for rate, _ in taken), median(seconds for _, seconds in taken)


def _list_options(threads: int, *, extra_buffers: bool) -> list[str]:
    buffers = [] if extra_buffers else ["--no-extra-buffers"]
    return ["--threads", str(threads), "--batch-threads", str(threads), "--no-benchmark", "--max-queue", "64", *buffers]


async def _measure(server: ServedProcess, clients: int, kind: str) -> tuple[float, float]:
    """Texts a second, and the median of the seconds that one takes."""
    words = (str(server.port), server.model, str(clients), str(SECONDS), kind)
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.embedding_client", *words, stdout=subprocess.PIPE
    )
    told, _ = await client.communicate()
    if client.returncode:
        raise RuntimeError(f"the clients ended with code {client.returncode}")
    return msgspec.json.decode(told, type=tuple[float, float])
