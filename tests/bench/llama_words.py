"""A placement in the words of llama.cpp's own programs, and what its `llama-bench` measures of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.contract.options import LoadOptions
from core.contract.placement import HOST, Placement

BENCH_VARIABLE: Final = "LLAMA_BENCH"
BENCH_SECONDS: Final = 300.0
DEPTH_TOKENS: Final = 48
"""Before the first token that is drawn, as behind the prompt of `tests.bench.client`."""


class BenchResult(Struct, frozen=True):
    """One test of `llama-bench -o json`, of what it tells."""

    avg_ts: float
    """Tokens a second."""
    stddev_ts: float


def measure_peer_rate(
    model: Path, options: LoadOptions, placement: Placement, tokens: int, rounds: int, library: Path
) -> float | None:
    """Tokens a second that `llama-bench` decodes with the same placement and threads, by the library of a folder; None
    where LLAMA_BENCH names no such program."""
    program = os.environ.get(BENCH_VARIABLE)
    if not program:
        return None
    batch = str(options.step_tokens)
    words = ["-m", str(model), "-o", "json", "-p", "0", "-n", str(tokens), "-r", str(rounds)]
    words += [
        "-d",
        str(DEPTH_TOKENS),
        "-b",
        batch,
        "-ub",
        batch,
        "-t",
        str(options.threads),
        "-fa",
        "auto",
        "--repack",
        str(int(options.repacks)),
    ]
    done = subprocess.run(
        [program, *write_bench_words(options, placement), *words],
        capture_output=True,
        check=False,
        env=find_libraries_in(library),
        timeout=BENCH_SECONDS,
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace")[-300:]
        raise RuntimeError(f"llama-bench ended with {done.returncode}: {said}")
    (found,) = msgspec.json.decode(done.stdout, type=list[BenchResult])
    return found.avg_ts


def find_libraries_in(folder: Path) -> dict[str, str]:
    """The environment of a program that takes llama.cpp's libraries of a folder."""
    paths = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(paths)}


def write_bench_words(options: LoadOptions, placement: Placement) -> list[str]:
    """Arguments of `llama-bench`."""
    words = ["--rpc", ",".join(options.rpc)] if options.rpc else []
    if placement.on_host:
        return [*words, "-dev", "none", "-ngl", "0"]
    words += ["-dev", "/".join(_list_names(placement)), "-ngl", str(placement.layers), "-sm", placement.split.value]
    words += ["-mg", str(placement.main), "-ncmoe", str(placement.expert_layers)]
    words += ["-nkvo", str(int(not placement.kv_offload)), "-nopo", str(int(not placement.op_offload))]
    if placement.shares:
        words += ["-ts", "/".join(f"{share:g}" for share in placement.shares)]
    if placement.rules:
        words += ["-ot", ";".join(_list_rules(placement))]
    return words


def write_server_words(options: LoadOptions, placement: Placement) -> list[str]:
    """Arguments of `llama-server`."""
    words = ["--rpc", ",".join(options.rpc)] if options.rpc else []
    words += ["--fit", "off"]
    if placement.on_host:
        return [*words, "--device", "none"]
    words += ["--device", ",".join(_list_names(placement)), "--n-gpu-layers", str(placement.layers)]
    words += ["--split-mode", placement.split.value, "--main-gpu", str(placement.main)]
    words += ["--n-cpu-moe", str(placement.expert_layers)] if placement.expert_layers else []
    words += [] if placement.kv_offload else ["--no-kv-offload"]
    words += [] if placement.op_offload else ["--no-op-offload"]
    words += ["--tensor-split", ",".join(f"{share:g}" for share in placement.shares)] if placement.shares else []
    words += ["--override-tensor", ",".join(_list_rules(placement))] if placement.rules else []
    return words


def _list_names(placement: Placement) -> Sequence[str]:
    """As these programs call the devices: without the address of a server."""
    return [device.partition("[")[0] for device in placement.devices]


def _list_rules(placement: Placement) -> Sequence[str]:
    return [f"{rule.pattern}={'CPU' if rule.device == HOST else rule.device}" for rule in placement.rules]
