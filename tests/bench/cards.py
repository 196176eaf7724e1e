"""A model on a device that has room for all, for three fifths and for a fifth of it: whether it loads each time, how it
is placed, how well that was estimated, and how fast it is beside llama.cpp's own programs with the same placement.

The device is the first accelerator that the library tells of, or an RPC server's where `BENCHTOP_TEST_RPC` has a build
with RPC (see `tests.fakes.rpc`); the library is that of `LLAMA_CPP_LIB_PATH`, else the bindings' own. `LLAMA_BENCH` and
`LLAMA_SERVER` name llama.cpp's programs, of the same version. Twenty loads: eighteen within a limit that the user sets,
and two while another process has the memory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.contract.placement import HOST, Placement
from core.devices.device import Device, DeviceKind
from core.devices.library import LIBRARY_PATH, LlamaLibrary, find_library_folder
from core.devices.listing import describe_host
from core.hardware import describe_machine
from core.models.fit.plan import LoadPlan
from core.models.fit.plan_words import describe_place
from core.models.fit.setup import plan_load
from core.models.fit.wish import EVERY_LAYERS, read_wish
from core.models.formats.header import Header
from core.models.formats.read import read_header
from tests.bench.card_loads import LoadsRequest, SeenLoad
from tests.bench.llama_words import find_libraries_in, measure_peer_rate, write_server_words
from tests.bench.peer import serve_peer
from tests.bench.report import table
from tests.bench.streaming import stream_answers
from tests.fakes.held_memory import hold_memory
from tests.fakes.processes import isolate
from tests.fakes.rpc import VARIABLE, run_rpc_server

CONTEXT_TOKENS: Final = 4096
MEBIBYTE_BYTES: Final = 1 << 20


class CardCase(Struct, frozen=True):
    """So much of what the model needs is free, and so often it is loaded."""

    share: float
    loads: int
    held: bool = False
    """Another process has the rest; else a limit keeps the model off it."""


CASES: Final = (CardCase(1.0, 6), CardCase(0.6, 6), CardCase(0.2, 6), CardCase(0.6, 2, held=True))


class CardBench(Struct, frozen=True):
    """What is measured, and on which device."""

    model: Path
    library: Path
    device: Device
    options: LoadOptions
    tokens: int
    rounds: int

    @property
    def header(self) -> Header:
        return read_header(Artifact(self.model.stem, "gguf", self.model, self.model.stat().st_size))

    def plan(self, placement: Placement | None = None) -> LoadPlan:
        """The plan for a placement that was seen to hold; for all layers where it is None."""
        layers, experts = (EVERY_LAYERS, 0) if placement is None else (placement.layers, placement.expert_layers)
        options = replace(self.options, gpu_layers=layers, cpu_moe=experts)
        devices = (describe_host(), replace(self.device, free=self.device.total))
        return plan_load(self.header, options, devices, describe_machine().features, read_wish(options))


class CardRow(Struct, frozen=True):
    """What came of one case."""

    seen: Sequence[SeenLoad]
    plan: LoadPlan
    ours: float
    """Tokens a second of one stream through HTTP."""
    bench: float | None
    server: float | None


def run(model: Path, threads: int, tokens: int, rounds: int, *, extra_buffers: bool = True) -> str:
    """The table, in Markdown."""
    options = LoadOptions(
        ctx_size=CONTEXT_TOKENS, slots=1, threads=threads, batch_threads=threads, extra_buffers=extra_buffers
    )
    servers = os.environ.get(VARIABLE)
    library = Path(servers) if servers else find_library_folder(os.environ)
    assert library is not None, "llama-cpp-python is not installed"
    rows: list[tuple[object, ...]] = []
    with _find_device(library, options, remote=bool(servers)) as (device, reached):
        name = device.name if device.kind is not DeviceKind.REMOTE else "an RPC server"
        bench = CardBench(model, library, device, reached, tokens, rounds)
        for case in CASES:
            rows.append(_tell_row(case, bench, asyncio.run(_measure(bench, case))))
            print(f"  {rows[-1]}", file=sys.stderr, flush=True)
    loads = sum(case.loads for case in CASES)
    title = f"{model.stem} on {name}, {threads} thread(s), {tokens} tokens, {loads} loads, MiB"
    head = ("free", "by", "loaded", "placed", "failed before", "planned", "buffers", "error", "missing")
    return table(title, (*head, "tokens/s", "llama-bench", "of it", "llama-server", "of it"), rows)


@contextmanager
def _find_device(library: Path, options: LoadOptions, *, remote: bool) -> Iterator[tuple[Device, LoadOptions]]:
    """The device, and options that reach it."""
    found = LlamaLibrary(library)
    with ExitStack() as open_:
        if remote:
            endpoint = open_.enter_context(run_rpc_server(library))
            found.servers = (endpoint,)
            options = replace(options, rpc=(endpoint,))
        view = found.look()
        device = next((each for each in view.devices if remote == (each.kind is DeviceKind.REMOTE)), None)
        if device is None:
            raise SystemExit(f"There is no accelerator here that {library} can use. {view.said}{view.problem}")
        yield device, options


async def _measure(bench: CardBench, case: CardCase) -> CardRow:
    whole = bench.plan().on_devices[0]
    free = whole.reserve + round(case.share * whole.parts.needed)
    with ExitStack() as open_:
        limit = ""
        if not case.held:
            limit = f"{bench.device.id}={free}"
        elif bench.options.rpc:
            # It serves one client at a time, so the server itself gets no more; nobody tells of that, and the trial run
            # has to find it out.
            left = round(case.share * whole.parts.needed)
            endpoint = open_.enter_context(run_rpc_server(bench.library, free=left))
            device = replace(bench.device, id=f"RPC0[{endpoint}]")
            bench = replace(bench, device=device, options=replace(bench.options, rpc=(endpoint,)))
        else:
            left = open_.enter_context(hold_memory(bench.library, bench.device.id, free))
            if left > 2 * free:
                print(f"  {bench.device.name} tells {left} bytes free of the {free} that are left", file=sys.stderr)
        home = open_.enter_context(TemporaryDirectory())
        asked = LoadsRequest(str(bench.model), home, bench.options, limit, case.loads)
        seen, ours = await _load(bench, asked)
    placement = seen[-1].placement
    peer = None if case.held else await asyncio.to_thread(_measure_bench, bench, placement)
    server = None if case.held else await _measure_server(bench, placement)
    return CardRow(seen, bench.plan(placement), ours, peer, server)


async def _load(bench: CardBench, asked: LoadsRequest) -> tuple[list[SeenLoad], float]:
    """What came of the loads, and tokens a second behind the last one; zero where that failed."""
    environment = isolate(Path(asked.home)) | {LIBRARY_PATH: str(bench.library)}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tests.bench.card_loads"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(msgspec.json.encode(asked) + b"\n")
    seen = []
    async for line in child.stdout:
        seen.append(msgspec.json.decode(line, type=SeenLoad))
        if len(seen) == asked.loads:
            break
    if len(seen) < asked.loads:
        raise RuntimeError(f"the process that loads ended with {await child.wait()}")
    last = seen[-1]
    rate = await _measure_rate(last.port, last.name, bench) if last.port else 0.0
    child.stdin.write(b"\n")
    child.stdin.close()
    await child.wait()
    return seen, rate


async def _measure_rate(port: int, name: str, bench: CardBench) -> float:
    await stream_answers(port, name, 1, bench.tokens)
    return median([(await stream_answers(port, name, 1, bench.tokens)).rate for _ in range(bench.rounds)])


def _measure_bench(bench: CardBench, placement: Placement) -> float | None:
    return measure_peer_rate(bench.model, bench.options, placement, bench.tokens, bench.rounds, bench.library)


async def _measure_server(bench: CardBench, placement: Placement) -> float | None:
    options = bench.options
    with serve_peer(
        bench.model,
        options.threads or 1,
        context=CONTEXT_TOKENS,
        slots=1,
        extra_buffers=options.repacks,
        more=write_server_words(options, placement),
        environment=find_libraries_in(bench.library),
    ) as peer:
        return None if peer is None else await _measure_rate(peer.port, peer.model, bench)


def _tell_row(case: CardCase, bench: CardBench, row: CardRow) -> tuple[object, ...]:
    last, device = row.seen[-1], bench.device.id.partition("[")[0]
    held = [each for each in row.seen if not each.refused]
    planned = sum(share.parts.needed for share in row.plan.on_devices) / MEBIBYTE_BYTES
    buffers = sum(each.total for each in last.buffers if each.device != HOST) / MEBIBYTE_BYTES
    missing = sum(size for name, size in last.missing.items() if name.startswith(device)) / MEBIBYTE_BYTES
    return (
        f"{case.share:.0%}",
        "another process" if case.held else "a limit",
        f"{len(held)} of {case.loads}" + (f": {last.refused}" if last.refused else ""),
        describe_place(row.plan).replace(bench.device.name, device),
        last.tried,
        planned,
        buffers,
        f"{planned / buffers - 1:+.1%}" if buffers else None,
        missing or None,
        row.ours,
        row.bench,
        row.ours / row.bench if row.bench else None,
        row.server,
        row.ours / row.server if row.server else None,
    )
