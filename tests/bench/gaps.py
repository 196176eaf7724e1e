"""Streams beside the prefill of a long prompt: how long they pause, and how long the prompt takes, alone and beside
them; and how long the streams of llama.cpp's own server pause, where LLAMA_SERVER names its binary."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import quantiles

from msgspec import Struct
from msgspec.structs import replace

from tests.bench.decode import DecodeSetup, serve_model
from tests.bench.peer import serve_peer
from tests.bench.report import table

CONTEXT_TOKENS = 6144
SLOTS = 5
WORDS = 2650
"""Which are some 3,000 tokens."""
STREAMS = (0, 1, 4)


class Meeting(Struct, frozen=True):
    """A prompt that met running streams. Times in seconds."""

    prompt: int
    """Tokens."""
    seconds: float
    """To its first token."""
    pauses: Sequence[float]
    """Between two tokens of a stream meanwhile."""


async def run(setup: DecodeSetup) -> str:
    """The table, in Markdown."""
    setup = replace(setup, context=CONTEXT_TOKENS, streams=STREAMS)
    met: list[tuple[str, int, Meeting]] = []
    async with serve_model(setup, SLOTS) as (_, name, port):
        met += [("ours", streams, await _meet(port, name, streams)) for streams in setup.streams]
    with serve_peer(
        setup.path, setup.threads, context=CONTEXT_TOKENS, slots=SLOTS, extra_buffers=setup.extra_buffers
    ) as peer:
        if peer is not None:
            met += [
                ("llama-server", streams, await _meet(peer.port, peer.model, streams)) for streams in setup.streams[:2]
            ]
    alone = {way: meeting.seconds for way, streams, meeting in met if not streams}
    rows = [
        (way, streams, each.prompt, *_spread(each.pauses), each.seconds, each.seconds / alone[way])
        for way, streams, each in met
    ]
    attention = "" if setup.flash_attention is None else f", flash attention {setup.flash_attention}"
    title = f"A prompt beside streams, {setup.path.name}, {setup.threads} thread(s){attention}"
    head = ("way", "streams", "prompt", "pause p50, ms", "p99, ms", "longest, ms", "first token, s", "of alone")
    return table(title, head, rows)


async def _meet(port: int, model: str, streams: int) -> Meeting:
    """Of a prompt that nothing was computed of."""
    words = ("127.0.0.1", port, model, streams, WORDS, 1000 + streams)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.gap_client", *map(str, words), stdout=subprocess.PIPE
    )
    output, _ = await child.communicate()
    found = json.loads(output)
    return Meeting(found["prompt"], found["seconds"], found["pauses"])


def _spread(pauses: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """The median, the 99th percentile and the longest, in milliseconds."""
    if not pauses:
        return None, None, None
    parts = quantiles(pauses, n=100, method="inclusive") if len(pauses) > 1 else list(pauses) * 99
    return 1000 * parts[49], 1000 * parts[98], 1000 * max(pauses)
