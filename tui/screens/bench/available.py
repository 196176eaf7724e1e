"""Which engines run here, and for the others why not and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from tui import glyphs
from tui.widgets.plain import Plain

if TYPE_CHECKING:
    from core.engines.registry import EngineReport


class EngineTable(Plain):
    """A few lines of text: nothing in it can be selected."""

    def show(self, reports: Sequence[EngineReport]) -> None:
        marks = glyphs.find_glyphs(self)
        self.update(Content("\n").join([_line(report, marks) for report in reports]))


def _line(report: EngineReport, marks: glyphs.Glyphs) -> Content:
    name = f"{report.name:<12} "
    if report.available:
        return Content.assemble(
            (f"{marks.yes} ", "$gauge-ok"), name, (f"{report.version or '':<10} runs on {report.platform}", "$quiet")
        )
    mend = Content.assemble(("  mend: ", "$quiet"), (report.mend, "$secondary")) if report.mend else Content("")
    return Content.assemble((f"{marks.no} ", "$gauge-warn"), name, (report.reason or "", "$quiet")).append(mend)
