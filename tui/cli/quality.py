"""`tui bench --quality MODEL [MODEL...]`: how well quants and KV types tell a text, beside the best of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from core.bench.documents import ExportFormat
from core.bench.quality import DEFAULT_CHUNKS, QualityRow, read_sample
from core.bench.quality_export import QUALITY_HEAD, export_quality, format_quality
from core.bench.suite import SuitePlan, parse_sweeps
from core.contract.options import KvType
from core.errors import UsageError
from core.settings.load import load_settings
from core.workbench import Workbench
from tui import format as fmt
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_documents

FLAWED_STATUS: Final = 1
USUAL_KV_TYPES: Final = (KvType.F16, KvType.Q8_0, KvType.Q4_0)
"""That are compared where one model is named and no sweep."""
NAME_CELLS: Final = 14
"""Of a model's name, at least; more is folded."""
GAP_CELLS: Final = 3
WIDE_ONLY: Final = ("tokens", "KL of 1 in 100")
"""What a narrow terminal has no room for; files and the screen have it."""
LEGEND: Final = (
    "Perplexity and Kullback-Leibler divergence (nats a token) over the second half of each chunk of 512 tokens; "
    "same top: tokens of which both find the same one likeliest. Only figures of one text can be compared."
)


def run_quality(given: Arguments, paths: Mapping[ExportFormat, Path | None]) -> int:
    """Measure, print the table, write what is to be written; 1 where a row has no figures. Raises BenchtopError."""
    swept = parse_sweeps(given.sweep, SuitePlan(kv_types=USUAL_KV_TYPES if len(given.models) == 1 else (KvType.F16,)))
    if swept.threads or swept.batches or swept.micro_batches or swept.depths != (0,):
        raise UsageError("Quality depends on the model and the KV type alone; sweep kv.")
    text = read_sample(given.text)
    workbench = Workbench(load_settings(given.flags(), config_file=given.config))
    console, stop = Paper(stderr=True), threading.Event()
    with console.status("finding out what runs here") as status:

        def tell(row: QualityRow) -> None:
            tokens = fmt.format_count(row.tokens)
            status.update(Text(f"{row.model} with {row.kv_type}: {tokens} tokens, perplexity {row.perplexity:.2f}"))

        chunks = given.chunks or DEFAULT_CHUNKS
        rows = workbench.bench.measure_quality(given.models, swept.kv_types, text, chunks, stop, tell)
    out = Paper()
    out.print(build_quality_table(rows, out.width))
    for row in rows:
        if row.problem is not None:
            out.tell(f"{row.model} with {row.kv_type}: {row.problem}", "red", wrap=True)
    out.tell(LEGEND, "dim", wrap=True)
    write_documents(paths, partial(export_quality, rows))
    return FLAWED_STATUS if any(row.problem for row in rows) else 0


def build_quality_table(rows: Sequence[QualityRow], width: int) -> Table:
    """In so many columns of a terminal; where there is no room for all figures, some are left out whole."""
    lines = [(*(heading.replace(" ", "\n", 1) for heading in QUALITY_HEAD[:-1]),)]
    lines += [format_quality(row)[:-1] for row in rows]
    widths = [max(len(part) for cell in cells for part in cell.split("\n")) for cells in zip(*lines, strict=True)]
    needed = NAME_CELLS + sum(widths[1:]) + GAP_CELLS * (len(widths) - 1)
    kept = [number for number, heading in enumerate(QUALITY_HEAD[:-1]) if needed <= width or heading not in WIDE_ONLY]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number in kept:
        least = NAME_CELLS if number == 0 else None
        justify: JustifyMethod = "left" if number < 2 else "right"
        table.add_column(lines[0][number], justify=justify, overflow="fold", no_wrap=number > 0, min_width=least)
    for row, line in zip(rows, lines[1:], strict=True):
        table.add_row(*(line[number] for number in kept), style="red" if row.problem else None)
    return table
