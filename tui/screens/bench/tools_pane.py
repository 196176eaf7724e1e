"""How well models call tools: the pane of the bench screen."""

from __future__ import annotations

from contextlib import aclosing

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Label
from textual.worker import Worker, get_current_worker

from core.bench.tool_cases import TOOL_CASES
from core.bench.tool_health import ToolVerdict, count_score, export_verdicts, format_verdict
from core.errors import BenchtopError
from tui import glyphs
from tui.screens.bench.pane import NOTHING_TO_EXPORT, MeasuringPane, split_names, write_exports
from tui.widgets.plain import Plain
from tui.widgets.table import Cell, Column, RowTable

COLUMNS = (
    Column("model", 14),
    Column("question", 26),
    Column("called", 6),
    Column("right tool", 10, wide_only=True),
    Column("fits", 6),
    Column("values", 6),
    Column("seconds", 7, right=True),
)
"""As TOOL_HEAD, without the problem."""
IDLE = f"{len(TOOL_CASES)} questions: one call, two at once, values, quotes, and when to call nothing. About a minute."


class ToolsPane(MeasuringPane):
    """Asks on the app's event loop, as chat does."""

    KEY = "tools"

    class Judged(Message):
        def __init__(self, verdict: ToolVerdict) -> None:
            super().__init__()
            self.verdict = verdict

    class Ended(Message):
        def __init__(self, problem: str | None, *, early: bool) -> None:
            super().__init__()
            self.problem = problem
            self.early = early

    _worker: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(classes="fields"):
            yield Label("models")
            yield Input(placeholder="the one in use", id="tools-models", select_on_focus=True)
            yield Button("Start", id="tools-start")
        yield Plain(id="tools-wrong")
        with Container(classes="panel", id="tools-panel") as panel:
            panel.border_title = "calls of tools"
            yield RowTable(COLUMNS, dom_id="tools-rows")
            with VerticalScroll(id="tools-reasons"):
                yield Plain(id="tools-problems")
            yield Plain(id="tools-standing")

    def on_mount(self) -> None:
        self._verdicts: list[ToolVerdict] = []
        self.query_one("#tools-wrong").display = False
        self.query_one("#tools-reasons").display = False
        self.say(IDLE)

    @property
    def busy(self) -> bool:
        return self._worker is not None

    def toggle(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            return
        self._verdicts = []
        self.start.label = "Stop"
        self.say("Asking. Escape stops.")
        self.draw()
        self._worker = self.ask(split_names(self.query_one("#tools-models", Input).value))

    @work(group="tools", exclusive=True)
    async def ask(self, names: list[str]) -> None:
        """Each model, loaded where it is not; of none the one in use. What comes of it is posted."""
        problem = None
        try:
            models = self._desk.workbench.models
            for asked in names or [await self._desk.until_ready()]:
                name = await models.load(asked)
                async with aclosing(self._desk.workbench.bench.check_tools(name)) as verdicts:
                    async for verdict in verdicts:
                        self.post_message(self.Judged(verdict))
        except BenchtopError as error:
            problem = str(error)
        finally:
            self.post_message(self.Ended(problem, early=get_current_worker().is_cancelled))

    @on(Judged)
    def take(self, event: Judged) -> None:
        self._verdicts.append(event.verdict)
        self.draw()

    @on(Ended)
    def settle(self, event: Ended) -> None:
        self._worker = None
        self.start.label = "Start"
        if event.problem is not None:
            self.notify(event.problem, severity="error", timeout=12, markup=False)
            self.say("The run failed.")
        elif event.early:
            self.say("Stopped before its end.")
        else:
            told = [f"{name}: {count_score(own)}" for name, own in self._by_model().items()]
            self.say("; ".join(told) + ". w writes the rows to files.", "bold $decode")

    def _by_model(self) -> dict[str, list[ToolVerdict]]:
        names = dict.fromkeys(verdict.model for verdict in self._verdicts)
        return {name: [verdict for verdict in self._verdicts if verdict.model == name] for name in names}

    def draw(self) -> None:
        marks = glyphs.find_glyphs(self)
        self.query_one("#tools-rows", RowTable).show(
            {f"{verdict.model} {verdict.case}": _cells(verdict, marks) for verdict in self._verdicts}
        )
        wrong = [f"{each.case}: {each.problem}" for each in self._verdicts if each.problem]
        self.query_one("#tools-reasons").display = bool(wrong)
        self.query_one("#tools-problems", Plain).update(Content.styled("\n".join(wrong), "$gauge-full"))

    def write(self) -> None:
        if not self._verdicts:
            self.notify(NOTHING_TO_EXPORT, severity="warning")
            return
        write_exports(self, "tools", self._verdicts[0].model, lambda form: export_verdicts(self._verdicts, form))


def _cells(verdict: ToolVerdict, marks: glyphs.Glyphs) -> list[Cell]:
    words = format_verdict(verdict)
    held = (verdict.called, verdict.right_tool, verdict.fits, verdict.exact)
    parts = [Content.styled(marks.yes if each else marks.no, "$gauge-ok" if each else "$gauge-full") for each in held]
    return [words[0], words[1], *parts, words[6]]
