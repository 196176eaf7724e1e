"""`tui bench --tools MODEL [MODEL...]`: how well models call tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from rich import box
from rich.markup import escape
from rich.table import Table

from core.bench.documents import ExportFormat
from core.bench.tool_cases import TOOL_CASES
from core.bench.tool_health import TOOL_HEAD, ToolVerdict, count_score, export_verdicts, format_verdict
from core.foreign_text import make_printable
from core.settings.load import load_settings
from core.workbench import Workbench
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_file

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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
    for form, path in paths.items():
        if path is not None:
            write_file(path, export_verdicts(verdicts, form))
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
                shown = escape(make_printable(name))
                told = cast("AsyncGenerator[ToolVerdict, None]", workbench.bench.check_tools(name))
                async with aclosing(told) as answers:
                    status.update(f"{shown}: question 1 of {len(TOOL_CASES)}")
                    number = 1
                    async for verdict in answers:
                        verdicts.append(verdict)
                        number += 1
                        status.update(f"{shown}: question {min(number, len(TOOL_CASES))} of {len(TOOL_CASES)}")
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
        table.add_row(*map(escape, format_verdict(verdict)[1:-1]), style="red" if verdict.problem else None)
    return table
