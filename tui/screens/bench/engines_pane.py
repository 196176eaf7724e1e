"""Engines side by side on the model in use, each in a child process: the pane of the bench screen."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Label, Static

from core.bench.results import BenchRun, describe_copying, export_run, rank_engines
from core.bench.suite import SuiteEvent, SuitePlan, parse_sweeps
from core.errors import BenchtopError, Cancelled, UsageError
from core.hardware import describe_machine
from tui import format as fmt
from tui import glyphs
from tui.screens.bench.available import EngineTable
from tui.screens.bench.engines_table import Course, Lanes
from tui.screens.bench.pane import NOTHING_TO_EXPORT, MeasuringPane, split_names, write_exports
from tui.screens.bench.run import BOUNDS, Case, Lineup, shorten_names
from tui.session import Desk
from tui.widgets.plain import Plain, make_drawable, set_subtitle
from tui.widgets.plot import Plot
from tui.widgets.table import RowTable

if TYPE_CHECKING:
    from core.bench.results import BenchRow, Change
    from core.engines.registry import EngineReport

BEAT_SECONDS = 0.1
"""Seconds between two looks at what the suite has told."""
NUMBERS = (("rounds", "rounds", 5), ("prompt", "prompt", 256), ("decoded", "answer", 48))
"""Name in the plan, label, default."""
SWEEPS = (("threads", "threads", "", "best"), ("batch", "batch", "", "best"), ("kv", "KV", "f16", ""))
DEPTH = ("depth", "depth", "0", "")
"""Name of the sweep, label, default, what stands in an empty field."""
IDLE = "Threads, batch, KV and depth take several values, such as 1,2."
MOST_REASONS = 3
"""Failures told below the table; of more, how many."""
ROUNDS_TITLE = "decode tok/s, round by round"
NO_HISTORY = "This setting was not measured before; its next run is drawn beside this one."
INVITE = "Press s, or Start, to measure every engine that runs the model in use."


class Contest(MeasuringPane):
    """Parameters, the table of cases, the plot. A run belongs to a thread, which only leaves word in a queue."""

    KEY = "suite"

    class Surveyed(Message):
        """Which engines run here."""

        def __init__(self, reports: tuple[EngineReport, ...]) -> None:
            super().__init__()
            self.reports = reports

    class Ended(Message):
        """The run is over. `run` holds what was measured, `traces` the rates of each row's setting over all runs;
        `problem` is a sentence where it failed."""

        def __init__(
            self,
            run: BenchRun | None,
            changes: list[Change],
            problem: str | None = None,
            *,
            traces: list[tuple[float, ...]] | None = None,
            early: bool = False,
        ) -> None:
            super().__init__()
            self.traces = traces or []
            self.run = run
            self.changes = changes
            self.problem = problem
            self.early = early

    def __init__(self, desk: Desk, *, dom_id: str) -> None:
        super().__init__(desk, dom_id=dom_id)
        self._stop: threading.Event | None = None
        self._told: queue.SimpleQueue[SuiteEvent] = queue.SimpleQueue()
        self._lineup = Lineup(1)
        self._run: BenchRun | None = None
        self._model = ""
        self._asked: tuple[str, ...] = ()
        self._traces: dict[str, tuple[float, ...]] = {}
        """By the keys of the table."""
        self._problem: str | None = None
        self._surveyed = False

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self._stop is not None

    def compose(self) -> ComposeResult:
        with Horizontal(classes="fields"):
            for name, label, number in NUMBERS:
                yield Label(label)
                yield Input(str(number), type="integer", id=f"suite-{name}", select_on_focus=True)
            yield Button("Start", id="suite-start")
        with Horizontal(classes="fields"):
            yield Label("models")
            yield Input(placeholder="the one in use, or several between commas", id="suite-models")
        with Horizontal(classes="fields"):
            for name, label, default, empty in (*SWEEPS, DEPTH):
                yield Label(label)
                yield Input(default, placeholder=empty, id=f"suite-{name}", select_on_focus=True)
        yield Plain(id="suite-wrong")
        with Container(classes="panel", id="lineup") as lineup:
            lineup.border_title = "engines"
            with VerticalScroll(id="survey"):
                yield EngineTable(dom_id="runnable")
            yield Lanes(dom_id="lanes")
            yield Plain(id="reasons")
            yield Plain(id="guesses")
            yield Plain(id="suite-standing")
        with Container(classes="panel", id="course-panel") as panel:
            panel.border_title = make_drawable(ROUNDS_TITLE, lines=False)
            yield Course(INVITE, dom_id="course")
            yield Plot("$decode", NO_HISTORY, dom_id="past")

    def on_mount(self) -> None:
        self._timer = self.set_interval(BEAT_SECONDS, self.listen, pause=True)
        self.query_one(Lanes).display = False
        self.query_one("#past").display = False
        self.say(IDLE)

    def on_unmount(self) -> None:
        # The thread outlives the app otherwise, and the app would wait for it.
        if self._stop is not None:
            self._stop.set()

    def enter(self) -> None:
        super().enter()
        if not self._surveyed:
            self._surveyed = True
            self.survey()

    @work(thread=True, group="survey")
    def survey(self) -> None:
        """Engines are asked on a thread: some import their package to answer."""
        self.post_message(self.Surveyed(self._desk.workbench.bench.engines()))

    @on(Surveyed)
    def list_engines(self, event: Surveyed) -> None:
        self.query_one(EngineTable).show(event.reports)

    def toggle(self) -> None:
        """Start a run, or stop the one there is."""
        if self._stop is not None:
            self._stop.set()
            self._lineup.halt()
            self.start.label = "Stopping"
            self.say("Stopping.")
            self.draw()
        elif (plan := self._plan()) is not None:
            self._begin(plan)

    def _plan(self) -> SuitePlan | None:
        """What the fields say; None where one is wrong, which is then told below them."""
        self._wrong(None, "")
        numbers = {}
        for name, label, _ in NUMBERS:
            least, most = BOUNDS[name]
            text = self.query_one(f"#suite-{name}", Input).value.strip()
            if not text.isdecimal() or not least <= int(text) <= most:
                self._wrong(name, f"{label.capitalize()} must be a whole number from {least:,} to {most:,}.")
                return None
            numbers[name] = int(text)
        plan = SuitePlan(rounds=numbers["rounds"], prompt=numbers["prompt"], decoded=numbers["decoded"])
        for name, *_ in (*SWEEPS, DEPTH):
            text = "".join(self.query_one(f"#suite-{name}", Input).value.split())
            try:
                plan = parse_sweeps([f"{name}={text}"] if text else [], plan)
            except UsageError as error:
                self._wrong(name, str(error))
                return None
        return plan

    def _wrong(self, name: str | None, sentence: str) -> None:
        self.blame(self.query_one(f"#suite-{name}", Input) if name is not None else None, sentence)

    def _begin(self, plan: SuitePlan) -> None:
        self._stop = threading.Event()
        self._lineup = Lineup(plan.rounds)
        self._told = queue.SimpleQueue()
        self._run = None
        self._problem = None
        names = split_names(self.query_one("#suite-models", Input).value) or [self._desk.model]
        self._model = ", ".join(names)
        self._asked = tuple(names)
        self._traces = {}
        self.query_one("#survey").display = False
        self.query_one(Lanes).display = True
        self.query_one(Lanes).show_cursor = False
        self.start.label = "Stop"
        self.say("Finding out what runs here, and each engine's best settings; the first time takes a while.")
        self.draw()
        self._timer.resume()
        self.contest(names, plan, self._stop, self._told)

    @work(thread=True, group="suite", exclusive=True)
    def contest(
        self, names: list[str], plan: SuitePlan, stop: threading.Event, told: queue.SimpleQueue[SuiteEvent]
    ) -> None:
        """Run the suite; what comes of it is queued and posted."""
        workbench = self._desk.workbench
        try:
            run = workbench.bench.run_suite(names, plan, stop, told.put)
            ended = self.Ended(run, workbench.bench.compare(run), traces=workbench.bench.trace(run))
        except Cancelled:
            ended = self.Ended(None, [], early=True)
        except BenchtopError as error:
            ended = self.Ended(None, [], str(error))
        except OSError as error:
            what = f" {error.filename}" if error.filename else ""
            ended = self.Ended(None, [], f"A file{what} that measuring needs cannot be used: {error.strerror}.")
        self.post_message(ended)

    def listen(self) -> None:
        """Take what the suite has told since the last time, and draw once."""
        heard = False
        while not self._told.empty():
            self._lineup.take(self._told.get())
            heard = True
        if heard:
            self.draw()
            if self._stop is not None and not self._stop.is_set() and (case := self._lineup.running) is not None:
                self.say(_progress(case, self._lineup, glyphs.find_glyphs(self).dot))

    @on(Ended)
    def settle(self, event: Ended) -> None:
        self._timer.pause()
        self.listen()
        self._stop = None
        self._lineup.halt()
        self._lineup.compare(event.changes)
        self._run = event.run or self._partial()
        self._traces = {str(case.number): trace for case, trace in zip(self._lineup.cases, event.traces, strict=False)}
        self.start.label = "Start"
        self._problem = event.problem
        if event.problem is not None:
            self.notify(event.problem, severity="error", timeout=12, markup=False)
            self.say("The run failed.")
        elif event.early:
            self.say("Stopped before its end.")
        else:
            self._conclude()
        self.draw()
        lanes = self.query_one(Lanes)
        lanes.offer(self._lineup.leader)
        if lanes.show_cursor and self.screen.focused is self.start:
            lanes.focus()

    def _partial(self) -> BenchRun | None:
        """What a run measured before it ended early."""
        here, rows = describe_machine(), self._lineup.rows
        return BenchRun(time.time(), here.fingerprint, here.processor, rows) if rows else None

    def toggle_history(self) -> None:
        """The rates of the row under the cursor over all runs, in place of its rounds; or these again."""
        past = self.query_one("#past")
        past.display = not past.display
        self.query_one(Course).display = not past.display
        self._draw_history()

    @on(RowTable.RowHighlighted, "#lanes")
    def _draw_history(self) -> None:
        past, row = self.query_one("#past", Plot), self.chosen
        title = ROUNDS_TITLE
        trace = self._traces.get(self.query_one(Lanes).selected or "", ())
        if past.display:
            title = (
                f"decode tok/s of {row.setting.engine}, run by run" if row is not None else "decode tok/s, run by run"
            )
            past.show(trace if len(trace) > 1 else ())
        self.query_one("#course-panel").border_title = make_drawable(title, lines=False)
        set_subtitle(self.query_one("#course-panel"), fmt.format_plural(len(trace), "run") if past.display else "")

    def _conclude(self) -> None:
        lineup = self._lineup
        if len(lineup.models) > 1:
            # Models are not compared by their speed: each has its own fastest engine.
            names = shorten_names(lineup.models)
            ranked = [
                f"{names[model]} {standing.first.decode:.1f} tok/s with {standing.first.name}"
                + (" (no clear winner)" if standing.doubt else "")
                for model, standing in rank_engines(lineup.rows).items()
                if standing.first is not None
            ]
            self.say(", ".join(ranked) or "Nothing could be measured.", "bold $decode")
            return
        engines, cases, best = lineup.engines, lineup.standing, lineup.leader
        # Of one engine with several settings there are no others to compare it with.
        doubt = engines.doubt if engines.others else cases.doubt
        if best is None or doubt:
            self.say(doubt, "$gauge-warn")
            return
        threads = fmt.format_plural(best.setting.threads, "thread")
        told = f"Fastest: {best.setting.engine}, {threads}, {fmt.format_rate(best.decode)} tok/s"
        if not cases.others:
            told += ", as the only one measured"
        elif not cases.clear:
            told += "; other settings of it come too close to tell"
        self.say(f"{told}. enter uses it, w writes files.", "bold $decode")

    def draw(self) -> None:
        """Show the run as it stands."""
        if not self._model:
            return
        self.query_one(Lanes).draw(self._lineup)
        self.query_one(Course).draw(self._lineup)
        self._draw_reasons()
        self._draw_guesses()
        set_subtitle(self.query_one("#lineup"), self._model)

    def _draw_reasons(self) -> None:
        """Why a case, or the whole run, failed: in the table there is no room for it."""
        rows = self._lineup.rows
        reasons = list(dict.fromkeys(f"{row.setting.engine}: {row.problem}" for row in rows if row.problem is not None))
        if self._problem is not None:
            reasons.insert(0, self._problem)
        told = [f"{glyphs.find_glyphs(self).no} {reason}" for reason in reasons[:MOST_REASONS]]
        if len(reasons) > MOST_REASONS:
            told.append(f"and {len(reasons) - MOST_REASONS} more; w writes them all to files.")
        line = self.query_one("#reasons", Static)
        line.display = bool(told)
        line.update(Content.styled("\n".join(told), "$gauge-full"))

    def _draw_guesses(self) -> None:
        """What guessing ahead does for the engine that leads so far."""
        best = self._lineup.leader
        told = describe_copying(best.row) if best is not None and best.row is not None else ""
        line = self.query_one("#guesses", Static)
        line.display = bool(told)
        line.update(Content.styled(f"{best.setting.engine}, {told}." if best is not None else "", "$quiet"))

    @property
    def chosen(self) -> BenchRow | None:
        """The row under the cursor, once it is measured."""
        selected = self.query_one(Lanes).selected
        return next((case.row for case in self._lineup.cases if str(case.number) == selected), None)

    def find_asked(self, model: str) -> str:
        """What was written for a model that was measured: its path, for one."""
        return self._asked[self._lineup.models.index(model)]

    @property
    def doubt(self) -> str:
        """Why no engine may be called the fastest with the model of the row under the cursor; empty where one is, or
        nothing was measured."""
        row, lineup = self.chosen, self._lineup
        if row is None or lineup.leader is None:
            return ""
        ranked = rank_engines(lineup.rows).get(row.setting.model)
        return lineup.standing.doubt if len(lineup.models) < 2 else ranked.doubt if ranked is not None else ""

    def write(self) -> None:
        """Write the rows as JSON, CSV and Markdown into the working directory."""
        if self._run is None:
            self.notify(NOTHING_TO_EXPORT, severity="warning")
            return
        run = self._run
        write_exports(self, "bench", self._model, lambda form: export_run(run, form))


def _progress(case: Case, lineup: Lineup, dot: str) -> str:
    setting = case.setting
    parts = (
        f"{case.number} of {lineup.total}",
        setting.engine,
        fmt.format_plural(setting.threads, "thread"),
        f"batch {setting.batch}",
        *([f"micro-batch {setting.micro_batch}"] if setting.micro_batch else []),
        f"KV {setting.kv_type.value}",
        f"depth {fmt.format_count(setting.depth)}",
    )
    return f" {dot} ".join(parts)
