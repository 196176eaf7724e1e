"""What quants and KV types cost in quality: the pane of the bench screen."""

from __future__ import annotations

import queue
import threading

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Label

from core.bench.quality import DEFAULT_CHUNKS, QualityRow, read_sample
from core.bench.quality_export import export_quality, format_quality
from core.bench.suite import SuitePlan, parse_sweeps
from core.errors import BenchtopError, Cancelled, UsageError
from core.files import expand_home
from tui import format as fmt
from tui.screens.bench.pane import NOTHING_TO_EXPORT, MeasuringPane, split_names, write_exports
from tui.widgets.plain import Plain
from tui.widgets.table import Cell, Column, RowTable

BEAT_SECONDS = 0.25
"""Seconds between two looks at what was told."""
MOST_CHUNKS = 10_000
COLUMNS = (
    Column("model", 17),
    Column("KV", 9),
    Column("tokens", 6, right=True, wide_only=True),
    Column("perplexity", 16, right=True),
    Column("KL divergence", 15, right=True),
    Column("1 in 100", 8, right=True, wide_only=True),
    Column("same top", 8, right=True),
)
"""As QUALITY_HEAD, without the problem."""
IDLE = "Several models, or KV types, between commas: each is measured beside the best of them, on the same text."


class QualityPane(MeasuringPane):
    """A run belongs to a thread, which only leaves word in a queue."""

    KEY = "quality"

    class Ended(Message):
        """The run is over. `problem` is a sentence where it failed."""

        def __init__(self, rows: list[QualityRow] | None, problem: str | None = None) -> None:
            super().__init__()
            self.rows = rows
            self.problem = problem

    _stop: threading.Event | None = None
    _model = ""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="fields"):
            yield Label("models")
            yield Input(placeholder="the one in use", id="quality-models", select_on_focus=True)
            yield Label("KV")
            yield Input("f16,q8_0,q4_0", id="quality-kv", select_on_focus=True)
            yield Button("Start", id="quality-start")
        with Horizontal(classes="fields"):
            yield Label("text")
            yield Input(placeholder="Python's reference", id="quality-text", select_on_focus=True)
            yield Label("chunks")
            yield Input(str(DEFAULT_CHUNKS), type="integer", id="quality-chunks", select_on_focus=True)
        yield Plain(id="quality-wrong")
        with Container(classes="panel", id="quality-panel") as panel:
            panel.border_title = "quality"
            yield RowTable(COLUMNS, dom_id="quality-rows")
            yield Plain(id="quality-problems")
            yield Plain(id="quality-standing")

    def on_mount(self) -> None:
        self._rows: dict[tuple[str, str], QualityRow] = {}
        self._told: queue.SimpleQueue[QualityRow] = queue.SimpleQueue()
        self._timer = self.set_interval(BEAT_SECONDS, self.listen, pause=True)
        self.query_one("#quality-wrong").display = False
        self.query_one("#quality-problems").display = False
        self.say(IDLE)

    def on_unmount(self) -> None:
        # The thread outlives the app otherwise, and the app would wait for it.
        if self._stop is not None:
            self._stop.set()

    @property
    def busy(self) -> bool:
        return self._stop is not None

    def toggle(self) -> None:
        if self._stop is not None:
            self._stop.set()
            self.start.label = "Stopping"
            self.say("Stopping.")
            return
        self.blame(None, "")
        field = self.query_one("#quality-kv", Input)
        try:
            types = "".join(field.value.split())
            plan = parse_sweeps([f"kv={types}"] if types else [], SuitePlan())
            field = self.query_one("#quality-text", Input)
            written = field.value.strip()
            text = read_sample(expand_home(written) if written else None)
            field = self.query_one("#quality-chunks", Input)
            chunks = field.value.strip()
            if not chunks.isdecimal() or not 1 <= int(chunks) <= MOST_CHUNKS:
                raise UsageError(f"Chunks must be a whole number from 1 to {MOST_CHUNKS:,}.")
        except UsageError as error:
            self.blame(field, str(error))
            return
        names = split_names(self.query_one("#quality-models", Input).value) or [self._desk.model]
        self._stop = threading.Event()
        self._rows, self._told, self._model = {}, queue.SimpleQueue(), names[0]
        self.start.label = "Stop"
        self.say("Finding out what runs here. Escape stops.")
        self.draw()
        self._timer.resume()
        self.measure(names, plan, text, int(chunks), self._stop, self._told)

    @work(thread=True, group="quality", exclusive=True)
    def measure(
        self,
        names: list[str],
        plan: SuitePlan,
        text: str,
        chunks: int,
        stop: threading.Event,
        told: queue.SimpleQueue[QualityRow],
    ) -> None:
        """What comes of it is queued and posted."""
        bench = self._desk.workbench.bench
        try:
            ended = self.Ended(bench.measure_quality(names, plan.kv_types, text, chunks, stop, told.put))
        except Cancelled:
            ended = self.Ended(None)
        except BenchtopError as error:
            ended = self.Ended(None, str(error))
        except OSError as error:
            ended = self.Ended(None, f"A file that measuring needs cannot be used: {error.strerror}.")
        self.post_message(ended)

    def listen(self) -> None:
        """Take what was told since the last time, and draw once."""
        row = None
        while not self._told.empty():
            row = self._told.get()
            self._rows[row.model, row.kv_type] = row
        if row is not None:
            self.draw()
            if self._stop is not None and not self._stop.is_set():
                self.say(f"{row.model} with {row.kv_type}: {fmt.format_count(row.tokens)} tokens. Escape stops.")

    @on(Ended)
    def settle(self, event: Ended) -> None:
        self._timer.pause()
        self.listen()
        self._stop = None
        self.start.label = "Start"
        if event.rows is not None:
            self._rows = {(row.model, row.kv_type): row for row in event.rows}
            self.say("KL divergence: nats a token from the first row. w writes files.", "bold $decode")
        elif event.problem is not None:
            self.notify(event.problem, severity="error", timeout=12, markup=False)
            self.say("The run failed.")
        else:
            self.say("Stopped before its end.")
        self.draw()

    def draw(self) -> None:
        self.query_one("#quality-rows", RowTable).show(
            {f"{row.model} {row.kv_type}": _cells(row) for row in self._rows.values()}
        )
        problems = [f"{row.model} with {row.kv_type}: {row.problem}" for row in self._rows.values() if row.problem]
        line = self.query_one("#quality-problems", Plain)
        line.display = bool(problems)
        line.update(Content.styled("\n".join(problems), "$gauge-full"))

    def write(self) -> None:
        if not self._rows:
            self.notify(NOTHING_TO_EXPORT, severity="warning")
            return
        write_exports(self, "quality", self._model, lambda form: export_quality([*self._rows.values()], form))


def _cells(row: QualityRow) -> list[Cell]:
    words = format_quality(row)[:-1]
    style = "$gauge-full" if row.problem else "bold" if row.reference else ""
    return [
        Content.styled(f"{text:>{column.width}}" if column.right else text, style)
        for text, column in zip(words, COLUMNS, strict=True)
    ]
