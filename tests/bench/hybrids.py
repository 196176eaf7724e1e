"""Models whose state cannot be cut at any token: what the second turn of a long conversation takes against the first,
and what is kept of a conversation so that the next turn computes only what is new."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import gguf
import numpy as np
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.options import KvType
from core.models.formats.read import read_header
from tests.bench.prefixes import PROMPT_TOKENS, FirstToken, running, time_first_token
from tests.bench.report import table
from tests.fakes.architectures import SCALES, VOCABULARY, Pairs, write_pairs

NEW_TOKENS: Final = 64
"""Of a second turn, behind the answer to the first."""
WIDTH, HIDDEN, LAYERS, KV_HEADS, LENGTH, INNER, STATE, SSM_HEADS = 768, 2048, 16, 4, 64, 1536, 128, 24
ATTENDING: Final = (3, 7, 11, 15)
"""The layers with keys and values; the others are recurrent, as in Granite 4, Nemotron-H and their like."""
PAIRS: Final[Pairs] = {
    "context_length": 32_768,
    "embedding_length": WIDTH,
    "feed_forward_length": HIDDEN,
    "attention.head_count": WIDTH // LENGTH,
    "attention.head_count_kv": [KV_HEADS if layer in ATTENDING else 0 for layer in range(LAYERS)],
    "attention.layer_norm_rms_epsilon": 1e-6,
    "attention.key_length": LENGTH,
    "attention.value_length": LENGTH,
    "vocab_size": VOCABULARY,
    "rope.dimension_count": LENGTH,
    "block_count": LAYERS,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": SSM_HEADS,
    "ssm.group_count": 1,
    **SCALES,
}


class Turns(Struct, frozen=True):
    """Of one conversation."""

    first: FirstToken
    second: FirstToken
    entries: int
    held: int
    """Bytes in memory for the conversation, after its second turn."""


async def run(windowed: Path | None, folder: Path, threads: int, rounds: int) -> str:
    """The table, in Markdown; `windowed` is a GGUF file with layers that look back a window."""
    rows: list[tuple[object, ...]] = []
    for path in filter(None, (write_hybrid(folder), windowed)):
        turns = [await _converse(path, threads, seed) for seed in range(rounds)]
        first, second = (median(getattr(each, name).seconds for each in turns) for name in ("first", "second"))
        ratio = median(each.second.seconds / each.first.seconds for each in turns)
        header = read_header(Artifact(path.stem, "gguf", path, path.stat().st_size))
        whole = header.state_bytes(1) + header.kv_bytes(PROMPT_TOKENS, KvType.F16, windowed=True)
        rows.append(
            (
                path.stem,
                first,
                second,
                ratio,
                turns[0].second.reused,
                turns[0].entries,
                turns[0].held / 1e6,
                whole / 1e6,
            )
        )
    head = ("model", "first turn, s to the first token", "second turn", "of the first", "tokens reused")
    kept = ("states kept", "MB kept", "MB of one whole state")
    title = f"Two turns of {PROMPT_TOKENS:,} tokens and {NEW_TOKENS} more, {threads} threads, {rounds} rounds"
    return table(title, (*head, *kept), rows)


async def _converse(path: Path, threads: int, seed: int) -> Turns:
    first = tuple(300 + (place * 7 + seed * 131) % 1500 for place in range(PROMPT_TOKENS))
    folder = Path(tempfile.mkdtemp())
    try:
        async with running(path, threads, folder, swa_full=False) as (workbench, name):
            cold = await time_first_token(workbench, name, first)
            # What was answered is written otherwise in the next turn, as most templates do.
            warm = await time_first_token(workbench, name, (*first, *range(400, 400 + NEW_TOKENS)))
            memory = workbench.snapshot().prefixes_in_memory
            return Turns(cold, warm, memory.entries, memory.bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_hybrid(folder: Path) -> Path:
    """A hybrid of about 0.1 B with random weights in f16; the same file every time. Writes nothing when it is there."""
    path = folder / "random-hybrid-0.1b-f16.gguf"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "granitehybrid")
    write_pairs(writer, PAIRS)
    random = np.random.default_rng(0)
    for name, shape in _tensors():
        if "norm" in name:
            writer.add_tensor(name, np.ones(shape, np.float32))
        elif name.endswith("ssm_a"):
            writer.add_tensor(name, -random.uniform(0.5, 1.5, shape).astype(np.float32))
        else:
            plain = len(shape) == 1 or "ssm_conv1d" in name or name.endswith("ssm_d")
            writer.add_tensor(name, random.normal(0, 0.03, shape).astype(np.float32 if plain else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(path)
    return path


def _tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (VOCABULARY, WIDTH)
    yield "output_norm.weight", (WIDTH,)
    for layer in range(LAYERS):
        b = f"blk.{layer}."
        yield f"{b}attn_norm.weight", (WIDTH,)
        yield from _attention(b) if layer in ATTENDING else _recurrent(b)
        yield f"{b}ffn_norm.weight", (WIDTH,)
        yield f"{b}ffn_gate.weight", (HIDDEN, WIDTH)
        yield f"{b}ffn_up.weight", (HIDDEN, WIDTH)
        yield f"{b}ffn_down.weight", (WIDTH, HIDDEN)


def _attention(b: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{b}attn_q.weight", (WIDTH, WIDTH)
    yield f"{b}attn_k.weight", (KV_HEADS * LENGTH, WIDTH)
    yield f"{b}attn_v.weight", (KV_HEADS * LENGTH, WIDTH)
    yield f"{b}attn_output.weight", (WIDTH, WIDTH)


def _recurrent(b: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{b}ssm_in.weight", (2 * INNER + 2 * STATE + SSM_HEADS, WIDTH)
    yield f"{b}ssm_conv1d.weight", (INNER + 2 * STATE, 4)
    yield f"{b}ssm_conv1d.bias", (INNER + 2 * STATE,)
    yield f"{b}ssm_dt.bias", (SSM_HEADS,)
    yield f"{b}ssm_a", (SSM_HEADS, 1)
    yield f"{b}ssm_d", (SSM_HEADS, 1)
    yield f"{b}ssm_norm.weight", (1, INNER)
    yield f"{b}ssm_out.weight", (WIDTH, INNER)
