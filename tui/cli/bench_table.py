"""The rows of the benchmark suite as tables that fit a terminal: figures are never wrapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from core.bench.results import Change, Setting, describe_copying
from tui import format as fmt
from tui.cli.console import Paper
from tui.screens.bench.run import NAMES, describe_setting, list_swept

FIGURES: Final = ("prefill\ntok/s", "decode\ntok/s", "spread", "first\nms", "memory\nMB")
BEFORE: Final = "before"
HEADINGS: Final = {"micro_batch": "micro\nbatch", "kv_type": "KV"}
"""Of settings that are not called as their attributes are."""
LEGEND: Final = "spread: of the decode rates; first: milliseconds until the first token"
BEFORE_TOLD: Final = "; before: decode against the last run with the same settings"
UNLIMITED_COLUMNS: Final = 10_000


def print_tables(console: Paper, changes: Sequence[Change]) -> None:
    """Print a table for each model, below it what all its rows share and why some of them have no figures."""
    for model in dict.fromkeys(change.row.setting.model for change in changes):
        mine = [change for change in changes if change.row.setting.model == model]
        names = list_swept([change.row.setting for change in mine])
        console.tell(model, "bold", wrap=True)
        console.print(build_table(console, mine))
        for line in _below(mine, names):
            console.tell(line, wrap=True)
    compared = BEFORE_TOLD if any(change.ratio is not None for change in changes) else ""
    console.tell(f"{LEGEND}{compared}.", "dim", wrap=True)


def build_table(console: Paper, changes: Sequence[Change]) -> Table:
    """The rows of one model. Settings in which they differ have columns, where there is room for them; else they stand
    below each engine's name."""
    names = list_swept([change.row.setting for change in changes])
    wide = _table(changes, names, ())
    unbounded = console.options.update(width=UNLIMITED_COLUMNS)
    fits = Measurement.get(console, unbounded, wide).maximum <= console.width
    return wide if fits else _table(changes, (), names)


def _table(changes: Sequence[Change], columns: Sequence[str], below: Sequence[str]) -> Table:
    compared = any(change.ratio is not None for change in changes)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("engine", overflow="fold", no_wrap=not below)
    for name in columns:
        table.add_column(HEADINGS.get(name, name), justify="left" if name == "kv_type" else "right", no_wrap=True)
    for heading in (*FIGURES, *([BEFORE] if compared else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for change in changes:
        setting, style = change.row.setting, "red" if change.row.problem else None
        cells = (*(_cell(setting, name) for name in columns), *_figures(change))[: len(table.columns) - 1]
        table.add_row(_named(setting, below), *cells, style=style)
    return table


def _named(setting: Setting, below: Sequence[str]) -> RenderableType:
    return Group(setting.engine, Padding(describe_setting(setting, below), (0, 0, 0, 2))) if below else setting.engine


def _cell(setting: Setting, name: str) -> str:
    if name == "micro_batch":
        return str(setting.micro_batch or setting.batch) if setting.divides else "-"
    return setting.kv_type.value if name == "kv_type" else str(getattr(setting, name))


def _figures(change: Change) -> tuple[str, ...]:
    row = change.row
    if row.problem is not None:
        return ("", "failed", "", "", "", "")
    return (
        fmt.format_rate(row.prefill),
        fmt.format_rate(row.decode),
        f"{row.spread:.0%}",
        f"{row.first_token * 1000:.1f}",
        f"{row.memory / 1e6:.0f}",
        "" if change.ratio is None else f"{change.ratio:.2f}x",
    )


def _below(changes: Sequence[Change], names: Sequence[str]) -> Iterator[str]:
    """What all rows of a model share, then each reason for a failure once."""
    first = changes[0].row.setting
    usual = {"micro_batch"} if first.micro_batch is None else set()
    if shared := describe_setting(first, [name for name in NAMES if name not in {*names, *usual}]):
        yield f"All with {shared}."
    for row in (change.row for change in changes if change.row.copying):
        who = ", ".join(filter(None, (row.setting.engine, describe_setting(row.setting, names))))
        yield f"{who}: {describe_copying(row)}."
    failures = [change.row for change in changes if change.row.problem is not None]
    told = (", ".join(filter(None, (row.setting.engine, describe_setting(row.setting, names)))) for row in failures)
    yield from dict.fromkeys(f"{who}: {row.problem}" for who, row in zip(told, failures, strict=True))
