"""`tui doctor`: what runs here, what does not, and the command that mends it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.bench.probe import describe
from core.hardware import available_memory, machine
from core.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from core.bench.probe import Verdict
    from core.config import Settings
    from core.engines import EngineReport

GIBIBYTE = 1024**3


def examine(settings: Settings) -> None:
    """Print the report on stdout."""
    console = Console()
    workbench = Workbench(settings)
    console.print(machine_table())
    console.print(engine_table(workbench.engines()))
    for line in verdict_lines(workbench.verdicts()):
        console.print(line, soft_wrap=True, markup=False)


def machine_table() -> Table:
    here = machine()
    table = Table(title="This machine", title_justify="left", show_header=False)
    table.add_row("system", f"{platform.system()} {platform.release()} ({here.architecture})")
    table.add_row("python", platform.python_version())
    table.add_row("processor", here.processor)
    table.add_row("cores", f"{here.cores} physical, {here.threads} logical")
    table.add_row("memory", f"{here.memory / GIBIBYTE:.1f} GiB, {available_memory() / GIBIBYTE:.1f} GiB available")
    return table


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """What trial runs have found here, the mishaps first."""
    if not verdicts:
        return ["Trial runs: none yet; an engine is tried in a child process before it first runs a kind of model."]
    notes = [note for verdict in verdicts for note in verdict.notes]
    fine = [
        f"{verdict.engine} {verdict.version} runs {verdict.model} here with {describe(verdict.options)}"
        + (
            f", fastest with {verdict.threads} decoding thread{'s'[: verdict.threads != 1]}."
            if verdict.threads
            else "."
        )
        for verdict in verdicts
    ]
    return ["Trial runs:", *(f"  {line}" for line in dict.fromkeys(notes + fine))]


def engine_table(engines: Iterable[EngineReport]) -> Table:
    table = Table(title="Engines", title_justify="left")
    for heading in ("engine", "runs here", "version", "platform", "why not", "mend"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("engine", "runs here"))
    for engine in sorted(engines, key=lambda engine: (not engine.available, engine.priority)):
        table.add_row(
            engine.name,
            "[green]yes[/]" if engine.available else "[red]no[/]",
            engine.version or "",
            engine.platform,
            escape(engine.reason or ""),
            escape(engine.mend or ""),
        )
    return table
