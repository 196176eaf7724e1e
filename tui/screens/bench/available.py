"""Which engines run here, and for the others why not and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from tui import glyphs
from tui.widgets.plain import Plain

if TYPE_CHECKING:
    from core.engines.registry import EngineReport


GAP = "  "


class EngineTable(Plain):
    """A few lines of text: nothing in it can be selected. What is too long for its line goes on below its beginning."""

    def __init__(self, *, dom_id: str | None = None) -> None:
        super().__init__(id=dom_id)
        self._reports: Sequence[EngineReport] = ()

    def show(self, reports: Sequence[EngineReport]) -> None:
        self._reports = reports
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        marks = glyphs.find_glyphs(self)
        names = max((len(report.name) for report in self._reports), default=0)
        versions = max((len(report.version or "") for report in self._reports), default=0)
        room = max(1, self.size.width - len(f"{marks.yes} {GAP}") - names)
        lines = []
        for report in self._reports:
            mark, style = (marks.yes, "$gauge-ok") if report.available else (marks.no, "$gauge-warn")
            start = Content.assemble((f"{mark} ", style), f"{report.name:<{names}}{GAP}")
            for line in _tell(report, versions, room):
                lines.append(start.append(line))
                start = Content(" " * start.cell_length)
        self.update(Content("\n").join(lines))


def _tell(report: EngineReport, versions: int, room: int) -> list[Content]:
    """In lines of `room` cells; the command stands beside the reason, or else below it."""
    if report.available:
        where = "anywhere" if report.platform == "any" else f"on {report.platform}"
        return [Content.styled(f"{report.version or '':<{versions}}{GAP}runs {where}", "$quiet")]
    parts = [Content.styled(report.reason or "", "$quiet")]
    if report.mend:
        parts.append(Content.assemble(("mend: ", "$quiet"), (report.mend, "$secondary")))
    whole = Content(GAP).join(parts)
    return [whole] if whole.cell_length <= room else [line for part in parts for line in part.wrap(room)]
