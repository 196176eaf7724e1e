"""`tui bench --tools MODEL [MODEL...]`: how well models call tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from core.bench.documents import ExportFormat
from core.bench.tool_cases import TOOL_CASES
from core.bench.tool_health import TOOL_HEAD, ToolVerdict, count_score, export_verdicts, format_verdict
from core.settings.load import load_settings
from core.workbench import Workbench
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_documents

FLAWED_STATUS: Final = 1


def run_tools(given: Arguments, paths: Mapping[ExportFormat, Path | None]) -> int:
    """Ask, print a table for each model, write what is to be written; 1 where an answer was not right. Raises
    BenchtopError."""
    verdicts = asyncio.run(_ask_models(given))
    out = Paper()
    for model in dict.fromkeys(verdict.model for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.model == model]
        out.print(build_tools_table(own))
        for verdict in own:
            if verdict.problem:
                out.tell(f"{verdict.case}: {verdict.problem}", "red", wrap=True)
        out.tell(f"[tools] {model}: {count_score(own)}", wrap=True)
    write_documents(paths, partial(export_verdicts, verdicts))
    return FLAWED_STATUS if any(verdict.problem for verdict in verdicts) else 0


async def _ask_models(given: Arguments) -> list[ToolVerdict]:
    """One model after another, each unloaded before the next."""
    workbench = Workbench(load_settings(given.flags(), config_file=given.config))
    verdicts = []
    console = Paper(stderr=True)
    try:
        with console.status("loading") as status:
            for asked in given.models:
                name = await workbench.models.load(asked)
                async with aclosing(workbench.bench.check_tools(name)) as answers:
                    for number in range(1, len(TOOL_CASES) + 1):
                        status.update(Text(f"{name}: question {number} of {len(TOOL_CASES)}"))
                        verdicts.append(await anext(answers))
                await workbench.models.unload(name)
    finally:
        await workbench.close()
    return verdicts


def build_tools_table(verdicts: list[ToolVerdict]) -> Table:
    """Without the model, which all are of."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(TOOL_HEAD[1:-1]):
        words = heading.replace(" ", "\n", 1)
        table.add_column(words, justify="right" if heading == "seconds" else "left", no_wrap=number == 0)
    for verdict in verdicts:
        table.add_row(*format_verdict(verdict)[1:-1], style="red" if verdict.problem else None)
    return table
