"""`tui bench MODEL [MODEL...]`: engines side by side, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.text import Text

from core.bench.documents import ExportFormat
from core.bench.results import BenchRun, Setting, export_run, rank_engines
from core.bench.suite import CaseDone, CaseSampled, CaseStarted, SuiteEvent, SuitePlan, parse_sweeps
from core.errors import UsageError
from core.settings.load import load_settings
from core.workbench import Workbench
from tui.cli import bench_table as benchtable
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import check_target, write_documents
from tui.cli.quality import run_quality
from tui.cli.tool_health import run_tools
from tui.screens.bench.run import NAMES, describe_setting

FLAWED_STATUS = 1
SIZES = (("rounds", 1, 1000), ("prompt", 1, 100_000), ("decode", 2, 100_000), ("chunks", 1, 100_000))
"""Options with the least and the most they may be."""


def run_bench(given: Arguments) -> int:
    """Run the suite and print its table; 1 when a case went wrong. Raises BenchtopError."""
    _check_options(given)
    paths: dict[ExportFormat, Path | None] = {
        ExportFormat.JSON: given.json,
        ExportFormat.CSV: given.csv,
        ExportFormat.MARKDOWN: given.markdown,
    }
    for named in filter(None, paths.values()):
        # Told now, and not when all is measured.
        check_target(named)
    if given.tools:
        return run_tools(given, paths)
    if given.quality:
        return run_quality(given, paths)
    sizes = {"rounds": given.rounds, "prompt": given.prompt, "decoded": given.decode}
    plan = parse_sweeps(given.sweep, SuitePlan(**{name: size for name, size in sizes.items() if size is not None}))
    workbench = Workbench(load_settings(given.flags(), config_file=given.config))
    console = Paper(stderr=True)
    stop = threading.Event()
    with console.status("finding out what runs here") as status:
        reporter = Reporter(console, status.update, plan, several=len(given.models) > 1)
        measured = workbench.bench.run_suite(given.models, plan, stop, reporter.tell)
    out = Paper()
    benchtable.print_tables(out, workbench.bench.compare(measured))
    for sentence in list_inapplicable(measured, plan):
        out.tell(sentence, wrap=True)
    write_documents(paths, partial(export_run, measured))
    _announce_fastest(out, measured)
    return FLAWED_STATUS if any(row.problem for row in measured.rows) else 0


def _check_options(given: Arguments) -> None:
    """Raises UsageError, also for options of another measurement than the one that is asked for."""
    if given.quality and given.tools:
        raise UsageError("--quality and --tools are two measurements; make one after the other.")
    asked = "--quality" if given.quality else "--tools" if given.tools else ""
    meant = {
        **dict.fromkeys(("rounds", "prompt", "decode"), ("",)),
        **dict.fromkeys(("text", "chunks"), ("--quality",)),
        "sweep": ("", "--quality"),
    }
    for name, kinds in meant.items():
        if getattr(given, name) not in (None, []) and asked not in kinds:
            told = f"does nothing with {asked}; leave it out" if asked else "goes with --quality"
            raise UsageError(f"--{name} {told}.")
    for name, least, most in SIZES:
        size = getattr(given, name)
        if size is not None and not least <= size <= most:
            raise UsageError(f"--{name} is {least} to {most:,}.")


class Reporter:
    """Tells on the terminal how the suite is getting on."""

    def __init__(self, console: Paper, update: Callable[[Text], None], plan: SuitePlan, *, several: bool) -> None:
        """`several`: models are measured, so that their names tell cases apart."""
        swept = (plan.threads, plan.batches, plan.micro_batches, plan.kv_types, plan.depths)
        self._names = tuple(name for name, values in zip(NAMES, swept, strict=True) if len(values) > 1)
        self._several = several
        self._console = console
        self._update = update
        self._case_shown = ""

    def tell(self, event: SuiteEvent) -> None:
        match event:
            case CaseStarted(number=number, total=total, setting=setting):
                self._case_shown = f"{number}/{total} {setting.model} with {self._case(setting)}"
                self._show(self._case_shown)
            case CaseSampled(prefill=prefill, decode=decode):
                self._show(f"{self._case_shown}: prefill {prefill:.0f}, decode {decode:.1f} tok/s")
            case CaseDone(row=row):
                told = row.problem or f"{row.decode:.1f} tok/s"
                model = f"{row.setting.model} with " if self._several else ""
                line = f"[benchmark] {model}{self._case(row.setting)}: {told}"
                self._console.tell(line, wrap=True)

    def _case(self, setting: Setting) -> str:
        """The engine, and what tells this case of it from the others."""
        return ", ".join(filter(None, (setting.engine, describe_setting(setting, self._names))))

    def _show(self, words: str) -> None:
        self._update(Text(words))


def list_inapplicable(run: BenchRun, plan: SuitePlan) -> list[str]:
    """A sentence for each engine that has no setting of a sweep's."""
    if not plan.micro_batches:
        return []
    engines = dict.fromkeys(row.setting.engine for row in run.rows if not row.setting.divides)
    return [f"{engine} has no micro-batch, so that sweep does not apply to it." for engine in engines]


def _announce_fastest(out: Paper, run: BenchRun) -> None:
    for model, standing in rank_engines(run.rows).items():
        if standing.first is not None:
            told = standing.doubt or f"fastest with {standing.first.name}"
            alone = ", the only one measured" if not standing.others else ""
            out.tell(f"[engine] {model}: {told}{alone}", wrap=True)
