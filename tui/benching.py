"""`tui bench MODEL [MODEL...]`: engines side by side, on this machine."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.bench.results import HEAD, BenchRun, Change, ExportFormat, cells, export
from core.bench.suite import CaseDone, CaseSampled, CaseStarted, SuiteEvent, SuitePlan, parse_sweeps
from core.config import load_settings
from core.errors import BenchtopError, UsageError
from core.workbench import Workbench

if TYPE_CHECKING:
    from core.bench.results import BenchRow

FLAWED = 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="tui bench",
        description="Measure the engines that can run a model here, one after another.",
        allow_abbrev=False,
    )
    made.add_argument("models", nargs="+", metavar="MODEL", help="a name, a .gguf file, a folder")
    made.add_argument("-e", "--engine", metavar="NAME", help="this engine alone")
    made.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each case (5)")
    made.add_argument("--prompt", type=int, default=256, metavar="N", help="tokens of the prompt (256)")
    made.add_argument("--decode", type=int, default=48, metavar="N", help="tokens decoded (48)")
    made.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=V,V",
        help="threads, batch, micro_batch, kv or depth; may be repeated",
    )
    made.add_argument("--rebench", action="store_true", help="find the best settings anew first")
    for form in ExportFormat:
        name = {"md": "markdown"}.get(form.value, form.value)
        made.add_argument(f"--{name}", type=Path, metavar="FILE", dest=form.value, help=f"write the rows as {name}")
    made.add_argument("--config", type=Path, metavar="FILE", help="a config file in place of the usual one")
    return made


def main(words: Sequence[str]) -> int:
    """Run the suite and print its table; 1 when a case went wrong. Raises BenchtopError."""
    given = parser().parse_args(words)
    if not (1 <= given.rounds <= 1000 and 1 <= given.prompt <= 100_000 and 2 <= given.decode <= 100_000):
        raise UsageError("--rounds is 1 to 1000, --prompt 1 to 100000, --decode 2 to 100000.")
    plan = parse_sweeps(given.sweep, SuitePlan(rounds=given.rounds, prompt=given.prompt, decoded=given.decode))
    flags = {"model": {"engine": given.engine}, "bench": {"fresh": given.rebench or None}}
    workbench = Workbench(load_settings(flags, config_file=given.config))
    console = Console(stderr=True)
    stop = threading.Event()
    with console.status("finding out what runs here") as status:
        run = workbench.run_suite(given.models, plan, stop, _Reporter(console, status.update).tell)
    Console().print(table_of(workbench.compare(run)))
    for form in ExportFormat:
        path: Path | None = getattr(given, form.value)
        if path is not None:
            _write(path, export(run, form))
    _announce_fastest(run)
    return FLAWED if any(row.problem for row in run.rows) else 0


class _Reporter:
    """Tells on the terminal how the suite is getting on."""

    def __init__(self, console: Console, update: Callable[[str], None]) -> None:
        self._console = console
        self._update = update
        self._place = ""

    def tell(self, event: SuiteEvent) -> None:
        match event:
            case CaseStarted(number=number, total=total, setting=setting):
                self._place = f"{number}/{total} {setting.model} with {setting.engine}"
                self._show(self._place)
            case CaseSampled(prefill=prefill, decode=decode):
                self._show(f"{self._place}: prefill {prefill:.0f}, decode {decode:.1f} tok/s")
            case CaseDone(row=row):
                told = row.problem or f"{row.decode:.1f} tok/s"
                self._console.print(f"\\[benchmark] {row.setting.engine}: {escape(told)}", highlight=False)

    def _show(self, words: str) -> None:
        self._update(escape(words))


def table_of(changes: Sequence[Change]) -> Table:
    """The rows, each with its decode rate against the last run with the same setting.

    A setting that is the same in all rows stands below the table, so that 80 columns are enough.
    """
    head = (*(name.replace("tokens/s", "tok/s") for name in HEAD[:-1]), "before", "problem")
    rows = [_words(change) for change in changes]
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    common = [name for name in ("threads", "batch", "micro-batch", "KV", "depth") if len(set(columns[name])) == 1]
    shown = [name for name in head if name not in common and any(columns[name])]
    caption = ", ".join(f"{name} {columns[name][0]}" for name in common)
    table = Table(caption=caption, caption_justify="left")
    for name in shown:
        words = name in ("model", "engine", "KV", "problem")
        table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=name == "engine")
    for place, change in enumerate(changes):
        style = "red" if change.row.problem else None
        table.add_row(*(escape(columns[name][place]) for name in shown), style=style)
    return table


def _words(change: Change) -> tuple[str, ...]:
    *figures, problem = cells(change.row)
    return (*figures, "" if change.ratio is None else f"{change.ratio:.2f}x", problem)


def _announce_fastest(run: BenchRun) -> None:
    for model in dict.fromkeys(row.setting.model for row in run.rows):
        measured: list[BenchRow] = [row for row in run.rows if row.setting.model == model and row.problem is None]
        if measured:
            best = max(measured, key=lambda row: row.decode)
            sys.stdout.write(f"[engine] {model}: fastest with {best.setting.engine}\n")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchtopError(f"The file {path} cannot be written: {error.strerror}.") from error
