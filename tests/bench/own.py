"""Decode speed of mlx and onnxruntime through our loop against the engine's own, on the same weights.

Each round runs the engine's own loop in a process of its own, and then ours in this one. One stream, greedy, since the
engines' own loops do no more.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from core.contract.options import LoadOptions
from core.guide import WEIGHTS
from core.guide.convert import mlx as to_mlx
from core.guide.convert import onnx as to_onnx
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, Folders, ProbeSettings, QueueSettings, Settings
from core.workbench import Workbench
from tests.bench import shapes
from tests.bench.decode import CONTEXT, core_rate
from tests.bench.report import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PACKAGES = {"mlx": "mlx_lm", "onnxruntime": "onnxruntime"}


async def run(folder: Path, threads: int, tokens: int, rounds: int) -> str:
    """The table, in Markdown. `folder` keeps the random weights for the next time."""
    rows: list[tuple[object, ...]] = []
    sources = {"guide": WEIGHTS, "random 0.1 B": shapes.write("0.1b", folder, half=True)}
    for name, source in sources.items():
        for engine in (each for each, package in PACKAGES.items() if find_spec(package)):
            own, ours = await _rates(engine, _written(engine, source, folder), threads, tokens, rounds)
            rows.append((name, engine, median(own), median(ours), _spread(own), median(ours) / median(own)))
    title = f"Decode beside the engine's own loop, {threads} thread(s), {tokens} tokens, {rounds} rounds, one stream"
    return table(title, ("weights", "engine", "own tokens/s", "ours", "spread of own", "ours of own"), rows)


def _written(engine: str, source: Path, folder: Path) -> Path:
    target = folder / f"{source.stem}-{engine}"
    if not target.exists():
        write = to_mlx.write_model if engine == "mlx" else to_onnx.write_model
        part = write(target.with_suffix(".part"), source)
        part.rename(target)
    return target


async def _rates(engine: str, path: Path, threads: int, tokens: int, rounds: int) -> tuple[list[float], list[float]]:
    own, ours = [], []
    async with _workbench(engine, threads) as workbench:
        name = await workbench.models.load(str(path))
        await core_rate(workbench, name, 1, tokens)
        for _ in range(rounds):
            own.append(_own(engine, path, tokens, threads))
            ours.append(await core_rate(workbench, name, 1, tokens))
    return own, ours


def _own(engine: str, path: Path, tokens: int, threads: int) -> float:
    code = (
        "import sys; from pathlib import Path; from tests.bench.loops import LOOPS; "
        "engine, path, *numbers = sys.argv[1:]; print(LOOPS[engine](Path(path), *map(int, numbers)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, engine, str(path), str(tokens), str(threads)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@asynccontextmanager
async def _workbench(engine: str, threads: int) -> AsyncIterator[Workbench]:
    settings = Settings(
        queue=QueueSettings(max_queue=0),
        model=ModelSettings(engine=engine, ctx_size=CONTEXT, slots=1, threads=threads),
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )
    with tempfile.TemporaryDirectory() as home:
        options = LoadOptions(ctx_size=CONTEXT, slots=1, threads=threads, batch_threads=threads)
        workbench = Workbench(settings, Folders(Path(home), Path(home), Path(home)), options=options)
        try:
            yield workbench
        finally:
            await workbench.close()


def _spread(rates: list[float]) -> str:
    return f"{(max(rates) - min(rates)) / median(rates):.0%}"
