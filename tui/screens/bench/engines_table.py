"""How engines do side by side: a table of the cases of a suite, and their rates drawn one beside another."""

from __future__ import annotations

from textual.content import Content

from tui import format as fmt
from tui import glyphs
from tui.screens.bench.run import Case, CaseState, Lineup, list_swept
from tui.widgets.gauge import draw_bar
from tui.widgets.plot import HEADROOM_FACTOR, Plot, draw_line, fit_columns, label_rows
from tui.widgets.table import WIDE_COLUMNS, Cell, Column, RowTable

COLUMNS = (
    Column("engine", 20),
    Column("threads", 7, right=True, wide_only=True),
    Column("prefill tok/s", 13, right=True),
    Column("decode tok/s", 12, right=True),
    Column("of fastest", 10),
    Column("first ms", 8, right=True, wide_only=True),
    Column("MB", 6, right=True, wide_only=True),
    Column("spread", 6, right=True, wide_only=True),
    Column("before", 6, right=True, wide_only=True),
    Column("state", 8),
)
"""Just as wide as the panel, at 80 columns of terminal and at 120."""
BAR_CELLS = 5
SHARE_CELLS = 5
"""Columns of the bar and of its value in words."""


class Lanes(RowTable):
    """A row for each case: the one under way and the fastest stand out, one that failed is red."""

    def __init__(self, *, dom_id: str | None = None) -> None:
        super().__init__(COLUMNS, dom_id=dom_id)
        self.show_cursor = False
        self._seen = 0

    def offer(self, case: Case | None) -> None:
        """The run is over: a row can be chosen, `case` first."""
        self.show_cursor = case is not None
        if case is not None:
            self.move_cursor(row=self.get_row_index(str(case.number)))

    def draw(self, lineup: Lineup) -> None:
        marks = glyphs.find_glyphs(self)
        names = list_swept([case.setting for case in lineup.cases])
        if self.app.size.width >= WIDE_COLUMNS:
            names = tuple(name for name in names if name != "threads")
        self.show({str(case.number): _cells(case, lineup, names, marks) for case in lineup.cases})
        if len(lineup.cases) != self._seen:
            self._seen = len(lineup.cases)
            self.move_cursor(row=self.row_count - 1)


def _cells(case: Case, lineup: Lineup, names: tuple[str, ...], marks: glyphs.Glyphs) -> list[Cell]:
    first = case is lineup.fastest
    style = _style(case, fastest=first)
    row, setting = case.row, case.setting
    measured = row is not None and row.problem is None
    label = f"{_mark(case, marks, fastest=first)} {lineup.label(case, names)}"
    texts = [
        fmt.clip_text(label, COLUMNS[0].width, marks.cut),
        str(setting.threads),
        fmt.format_rate(row.prefill if measured and row else case.prefill) if case.rates or measured else "",
        fmt.format_rate(case.decode) if case.decode else "",
        "",
        f"{row.first_token * 1000:.0f}" if measured and row else "",
        f"{row.memory / 1e6:,.0f}" if measured and row else "",
        f"{row.spread:.0%}" if measured and row else "",
        f"{case.ratio:.2f}x" if case.ratio is not None else "",
        _state(case, lineup, fastest=first),
    ]
    cells: list[Cell] = [
        Content.styled(f"{text:>{column.width}}" if column.right else text, style)
        for text, column in zip(texts, COLUMNS, strict=True)
    ]
    cells[4] = _share(case, lineup.best, marks, style)
    return cells


def _share(case: Case, best: float, marks: glyphs.Glyphs, style: str) -> Content:
    if not case.decode or not best:
        return Content("")
    share = case.decode / best
    return draw_bar(share, BAR_CELLS, marks, "$decode").append(
        Content.styled(f"{fmt.format_percent(share, 1):>{SHARE_CELLS}}", style)
    )


def _mark(case: Case, marks: glyphs.Glyphs, *, fastest: bool) -> str:
    if case.state is CaseState.FAILED:
        return marks.no
    if case.state is CaseState.RUNNING:
        return marks.running
    return marks.yes if fastest else " "


def _style(case: Case, *, fastest: bool) -> str:
    match case.state:
        case CaseState.RUNNING:
            return "bold $decode"
        case CaseState.FAILED:
            return "$gauge-full"
        case CaseState.STOPPED:
            return "$gauge-warn"
        case CaseState.DONE:
            return "bold" if fastest else ""


def _state(case: Case, lineup: Lineup, *, fastest: bool) -> str:
    if case.state is CaseState.RUNNING:
        return f"{len(case.rates)}/{lineup.rounds}" if case.rates else "loading"
    return "fastest" if fastest else case.state.value


class Course(Plot):
    """The decode rate of each round, a stretch for each case, its engine's name below."""

    LEAST_CELLS = 3
    """Columns of a stretch; of more cases than fit, the last are shown."""

    def __init__(self, empty: str, *, dom_id: str | None = None) -> None:
        super().__init__("$decode", empty, dom_id=dom_id)
        self._lineup = Lineup(1)

    def draw(self, lineup: Lineup) -> None:
        self._lineup = lineup
        self.refresh()

    def render(self) -> Content:
        lineup = self._lineup
        peak = max((rate for case in lineup.cases for rate in case.rates), default=0.0)
        if not lineup.cases:
            return Content.styled(self._empty, "$quiet")
        marks = glyphs.find_glyphs(self)
        height = max(2, self.size.height - 2)
        top = peak * HEADROOM_FACTOR
        labels = label_rows(top, height)
        gutter = max(1, *map(len, labels))
        room = max(self.LEAST_CELLS, self.size.width - gutter - 2)
        stretch = max(self.LEAST_CELLS, room // max(1, lineup.total))
        shown = lineup.cases[-(room // stretch) :]
        drawn = [_stretch(case, lineup.rounds, top, stretch - 1, height, marks) for case in shown]
        fastest = lineup.fastest
        styles = ["bold $gauge-ok" if case is fastest else "$decode" for case in shown]
        lines = [
            Content.assemble(
                (f"{labels[y]:>{gutter}} {marks.axis}", "$quiet"),
                *((f"{rows[y]} ", style) for rows, style in zip(drawn, styles, strict=True)),
            )
            for y in range(height)
        ]
        lines.append(Content.styled(f"{'0':>{gutter}} {marks.corner}{marks.floor * room}", "$edge"))
        differing = list_swept([case.setting for case in lineup.cases])
        names = [
            _name(lineup.label(case, differing), case, stretch - 1, marks, fastest=case is fastest) for case in shown
        ]
        lines.append(Content.assemble(" " * (gutter + 2), *names))
        return Content("\n").join(lines)


def _stretch(case: Case, rounds: int, top: float, width: int, height: int, marks: glyphs.Glyphs) -> list[str]:
    """The case's rates as `height` rows of `width` characters: as much of them as rounds are done."""
    fine = width * 2 if marks.braille else width
    done = min(fine, max(1, fine * len(case.rates) // max(1, rounds)))
    if not case.rates:
        return [" " * width] * height
    return [row.ljust(width) for row in draw_line(fit_columns(case.rates, done), top, height, braille=marks.braille)]


def _name(label: str, case: Case, width: int, marks: glyphs.Glyphs, *, fastest: bool) -> Content:
    """The case's mark and its label, as far as there is room."""
    parts = (_mark(case, marks, fastest=fastest).strip(), label)
    text = fmt.clip_text(" ".join(part for part in parts if part), width, marks.cut)
    return Content.styled(f"{text:<{width}} ", _style(case, fastest=fastest) or "$quiet")
