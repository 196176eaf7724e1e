"""What a pass costs by its width: how many tokens can be verified in the time of one."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from core.contract.artifact import Artifact
from core.contract.models import Trims
from core.contract.options import LoadOptions
from core.contract.step import Work
from core.requests import Sampling
from tests.bench.report import table
from tests.fakes.loading import load_decoder

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 17, 24, 32)
DEPTH_TOKENS = 600
"""In the context before."""


def run(path: Path, threads: int, rounds: int, *, extra_buffers: bool) -> str:
    """The table, in Markdown: passes of a single sequence, of which all guesses are wrong."""
    options = LoadOptions(ctx_size=1024, slots=1, threads=threads, batch_threads=threads, extra_buffers=extra_buffers)
    model = load_decoder(Artifact(path.stem, "gguf", path, path.stat().st_size), options)
    assert isinstance(model, Trims)
    sequence = model.open(Sampling(temperature=0.0))
    tokens = [100 + index % 10_000 for index in range(DEPTH_TOKENS)]
    for start in range(0, DEPTH_TOKENS, model.spec.batch):
        model.step([Work(sequence, tokens[start : start + model.spec.batch], sample=False)])
    seconds: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for _ in range(rounds + 1):
        for width in WIDTHS:
            began = time.perf_counter()
            model.step([Work(sequence, [tokens[0]], sample=True, draft=[0] * (width - 1))])
            seconds[width].append(time.perf_counter() - began)
            model.trim(sequence, DEPTH_TOKENS)
    model.shutdown()
    # The first round warms up.
    usual = {width: median(taken[1:]) for width, taken in seconds.items()}
    rows = [(width, 1000 * usual[width], usual[width] / usual[1], width * usual[1] / usual[width]) for width in WIDTHS]
    title = f"Passes by their width, {path.stem}, {threads} thread(s), {DEPTH_TOKENS} tokens before, {rounds} round(s)"
    return table(title, ("tokens", "ms", "of one token's", "gain if all come true"), rows)
