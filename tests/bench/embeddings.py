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
from msgspec import Struct

from tests.bench.peer import serve_peer
from tests.bench.report import table
from tests.bench.served import ServedProcess, serve_tui

CLIENTS = (1, 32)
SECONDS = 4.0
"""That each number of clients asks in a round."""
TEXT_TOKENS = 512
"""Of the context of each of the peer's slots."""
HEAD = (
    *("clients", "texts", "texts/s", "ms a text", "ms of processor", "llama-server", "ms a text", "ms of processor"),
    *("of llama-server", "of one client"),
)


class EmbeddingRate(Struct, frozen=True):
    """What a server did for some clients."""

    rate: float
    """Texts a second."""
    seconds: float
    """That one took, the median."""
    cpu: float
    """Seconds of the processor that the server spent on one."""


async def run(model: Path, threads: int, rounds: int, *, extra_buffers: bool) -> str:
    """The table, in Markdown: medians of rounds, in which all take turns."""
    rates: dict[tuple[str, int, str], list[EmbeddingRate]] = defaultdict(list)
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


def _row(rates: dict[tuple[str, int, str], list[EmbeddingRate]], clients: int, kind: str) -> tuple[object, ...]:
    ours, alone = _find_median(rates["ours", clients, kind]), _find_median(rates["ours", 1, kind])
    theirs = rates.get(("theirs", clients, kind))
    other = _find_median(theirs) if theirs else None
    told = (other.rate, 1000 * other.seconds, 1000 * other.cpu, ours.rate / other.rate) if other else (None,) * 4
    return clients, kind, ours.rate, 1000 * ours.seconds, 1000 * ours.cpu, *told, ours.rate / alone.rate


def _find_median(taken: list[EmbeddingRate]) -> EmbeddingRate:
    return EmbeddingRate(
        median(each.rate for each in taken), median(each.seconds for each in taken), median(each.cpu for each in taken)
    )


def _list_options(threads: int, *, extra_buffers: bool) -> list[str]:
    buffers = [] if extra_buffers else ["--no-extra-buffers"]
    return ["--threads", str(threads), "--batch-threads", str(threads), "--no-benchmark", "--max-queue", "64", *buffers]


async def _measure(server: ServedProcess, clients: int, kind: str) -> EmbeddingRate:
    words = (str(server.port), server.model, str(clients), str(SECONDS), kind)
    before = server.read_cpu_seconds()
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.embedding_client", *words, stdout=subprocess.PIPE
    )
    told, _ = await client.communicate()
    if client.returncode:
        raise RuntimeError(f"the clients ended with code {client.returncode}")
    rate, seconds, whole = msgspec.json.decode(told, type=tuple[float, float, int])
    return EmbeddingRate(rate, seconds, (server.read_cpu_seconds() - before) / max(1, whole))
