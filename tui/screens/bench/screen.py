"""Measure the model in use as it serves, or the engines that run it side by side, and watch."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, final

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, ContentSwitcher, Input, Static
from textual.worker import get_current_worker

from core.errors import BenchtopError
from core.sizes import format_size
from core.snapshots import Snapshot
from tui import format as fmt
from tui import glyphs
from tui.actions.action import build_bindings
from tui.dialogs.confirm import Confirm
from tui.screens.base import WorkbenchScreen
from tui.screens.bench.actions import ACTIONS
from tui.screens.bench.engine_choice import convert_setting, describe_choice, list_kept_keys
from tui.screens.bench.engines_pane import Contest
from tui.screens.bench.pane import NOTHING_TO_EXPORT, MeasuringPane, write_exports
from tui.screens.bench.quality_pane import QualityPane
from tui.screens.bench.tools_pane import ToolsPane
from tui.session import LoadWish, find_model
from tui.widgets.plain import Plain, make_drawable, set_subtitle
from tui.widgets.plot import Plot
from tui.widgets.table import Cell, Column, RowTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.bench.results import Setting
    from core.bench.runner import BenchSample, RoundDone

FIELDS = (
    ("prompt", "prompt", "tokens", 256, 1, 1_000_000),
    ("new", "answer", "tokens", 64, 2, 1_000_000),
    ("rounds", "rounds", "", 3, 1, 100),
    ("streams", "streams", "at once", 1, 1, 200),
)
"""Id, name, unit, default, least, most."""
MODES = {"served": "as it serves", "contest": "engines side by side", "quality": "quality", "tools": "tool calls"}
"""Id of a pane, and its name."""


class ModeTab(Plain):
    """The name of a way to measure."""

    ALLOW_SELECT = False

    class Chosen(Message):
        def __init__(self, mode: str) -> None:
            super().__init__()
            self.mode = mode

    def __init__(self, mode: str) -> None:
        super().__init__(MODES[mode], classes="mode", id=f"mode-{mode}")
        self._mode = mode

    def on_click(self) -> None:
        self.post_message(self.Chosen(self._mode))


@final
class BenchScreen(WorkbenchScreen):
    """A pane for each of MODES. As it serves: parameters above, the live plot, the rounds below."""

    NAME = "bench"
    ACTIONS = ACTIONS
    BINDINGS = build_bindings(ACTIONS)
    AUTO_FOCUS = "#start"

    class Sampled(Message):
        def __init__(self, sample: BenchSample) -> None:
            super().__init__()
            self.sample = sample

    class Stopped(Message):
        """The run is over; `error` says why when it failed, `early` that the user stopped it."""

        def __init__(self, error: BenchtopError | None, *, early: bool) -> None:
            super().__init__()
            self.error = error
            self.early = early

    def __init__(self) -> None:
        super().__init__()
        self.mode = "served"
        """The pane in sight, a key of `MODES`."""
        self._measuring = False
        self._results: dict[str, list[Cell]] = {}
        self._rounds: list[RoundDone] = []
        """Those of the table that have come to their end."""
        self._measured = ""
        """The model that they are of."""

    def body(self) -> ComposeResult:
        with Horizontal(id="modes"):
            for mode in MODES:
                yield ModeTab(mode)
        with ContentSwitcher(initial="served", id="panes"):
            with Vertical(id="served"):
                with Horizontal(id="plan"):
                    for key, name, unit, default, _, _ in FIELDS:
                        field = Input(str(default), type="integer", id=key, select_on_focus=True)
                        field.border_title, field.border_subtitle = name, unit
                        yield field
                    yield Button("Start", id="start")
                with Container(classes="panel", id="curve") as curve:
                    curve.border_title = "decode tok/s"
                    yield Plot("$decode", "Press s, or the button, to measure the model that is loaded.", dom_id="plot")
                with Container(classes="panel", id="results") as results:
                    results.border_title = "rounds"
                    yield RowTable(
                        [
                            Column("round", 5, right=True),
                            Column("prefill tok/s", 13, right=True),
                            Column("decode tok/s", 12, right=True),
                            Column("first token", 11, right=True),
                            Column("state", 16),
                        ],
                        dom_id="measured",
                    )
                    yield Plain(id="summary")
            yield Contest(self.desk, dom_id="contest")
            yield QualityPane(self.desk, dom_id="quality")
            yield ToolsPane(self.desk, dom_id="tools")

    def on_mount(self) -> None:
        measured = self.query_one("#measured", RowTable)
        measured.can_focus = measured.show_cursor = False
        self._say("Nothing was measured yet. Prompts are random, so that no cache helps.")
        self._mark_mode()

    @on(ModeTab.Chosen)
    def choose_mode(self, event: ModeTab.Chosen) -> None:
        self._show_mode(event.mode)

    def action_engines(self) -> None:
        self._show_mode("served" if self.mode == "contest" else "contest")

    def action_pane(self, mode: str) -> None:
        self._show_mode(mode)

    @property
    def pane(self) -> MeasuringPane | None:
        """The one in sight; None where that is the model as it serves."""
        return next((each for each in self._panes if each.id == self.mode), None)

    @property
    def _panes(self) -> tuple[MeasuringPane, ...]:
        return self.query_one(Contest), self.query_one(QualityPane), self.query_one(ToolsPane)

    def _show_mode(self, mode: str) -> None:
        self.query_one(ContentSwitcher).current = self.mode = mode
        self._mark_mode()
        if (pane := self.pane) is not None:
            pane.enter()
        else:
            self.query_one("#start").focus()
        self.refresh_bindings()

    def _mark_mode(self) -> None:
        for mode in MODES:
            self.query_one(f"#mode-{mode}").set_class(mode == self.mode, "-active")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Engines alone are used, and have a history."""
        return action not in ("use", "history") or self.mode == "contest"

    def action_leave(self) -> None:
        pane = self.pane
        start = self.query_one("#start") if pane is None else pane.start
        if pane is not None and pane.busy and self.mode != "contest" and not isinstance(self.focused, Input):
            pane.toggle()
        start.focus()

    def action_history(self) -> None:
        self.query_one(Contest).toggle_history()

    def action_export(self) -> None:
        if (pane := self.pane) is not None:
            pane.write()
        elif self._rounds:
            from core.bench.documents import write_document
            from core.bench.runner import ROUND_HEAD, format_round

            rounds = tuple(self._rounds)
            lines = [format_round(each) for each in rounds]
            write_exports(self, "served", self._measured, lambda form: write_document(form, ROUND_HEAD, lines, rounds))
        else:
            self.notify(NOTHING_TO_EXPORT, severity="warning")

    @on(RowTable.RowSelected, "#lanes")
    def action_use(self) -> None:
        """After a question: requests that run end with the loading."""
        contest = self.query_one(Contest)
        row = contest.chosen
        if contest.busy or self._measuring:
            self.notify("A measurement is under way; s stops it.", severity="warning")
        elif row is None:
            self.notify("There is no engine to use yet; press s to measure.", severity="warning")
        elif row.problem is not None:
            told = f"{row.setting.engine} cannot be used: {row.problem}"
            self.notify(told, severity="warning", markup=False)
        else:
            setting = row.setting
            parts = [f"Load {setting.model} with {describe_choice(setting)}?", contest.doubt]
            if running := self.bench.answering(setting.model):
                parts.append(f"{fmt.format_plural(running, 'answer')} of it would end.")
            answers: dict[str, tuple[str, Callable[[], object]]] = {
                "y": ("Now", lambda: self._use(setting, kept=False)),
                "k": ("Now and from now on", lambda: self._use(setting, kept=True)),
            }
            self.app.push_screen(Confirm("use this engine", " ".join(filter(None, parts)), answers))

    @work(group="use", exclusive=True)
    async def _use(self, setting: Setting, *, kept: bool) -> None:
        name, settings = setting.model, convert_setting(setting)
        asked = self.desk.asked_as(self.query_one(Contest).find_asked(name))
        self.notify(f"Loading {name} with {setting.engine}.", markup=False)
        try:
            await self.desk.load(asked, LoadWish(more=settings))
        except BenchtopError as error:
            self.complain(error)
            # It was unloaded for this; what it was loaded with before is what it has again.
            self.bench.load(asked)
            return
        told = f"{name} runs with {describe_choice(setting)}."
        if kept and await self.bench.keep_settings(list_kept_keys(name, asked, settings)):
            self.desk.workbench.models.keep_profile(name)
            told += f" {self.bench.config_file} says so."
        self.notify(told, markup=False)

    def show(self, snapshot: Snapshot) -> None:
        if (pane := self.pane) is not None:
            # Its marks follow the switch between ASCII and Unicode, and its columns the terminal's width.
            pane.draw()
            return
        model = find_model(snapshot, self.desk.model)
        told = f"{model.name} {glyphs.find_glyphs(self).dot} {model.engine}" if model is not None else ""
        set_subtitle(self.query_one("#curve"), told)

    @on(Button.Pressed)
    @on(Input.Submitted)
    async def action_run(self) -> None:
        """Start a run of the pane in sight, or stop the one there is."""
        pane = self.pane
        others = [each for each in self._panes if each is not pane]
        if (pane is not None and self._measuring) or any(each.busy for each in others):
            self.notify("Another measurement is under way; s stops it, on the pane where it is.", severity="warning")
        elif pane is not None:
            pane.toggle()
        elif self._measuring:
            self.workers.cancel_group(self, "measure")
        else:
            self._begin()

    def _begin(self) -> None:
        plan = self._plan()
        if isinstance(plan, str):
            self.notify(plan, severity="error")
            return
        self._measuring = True
        self._results, self._rounds = {}, []
        self.query_one("#plot", Plot).clear()
        self.query_one("#measured", RowTable).show({})
        self.query_one("#results").border_subtitle = ""
        self.query_one("#start", Button).label = "Stop"
        self._say("Waiting for the model.")
        self.measure(plan)

    def _plan(self) -> dict[str, int] | str:
        """The parameters by id, or a sentence naming the one that is wrong."""
        plan = {}
        for key, name, _, _, least, most in FIELDS:
            text = self.query_one(f"#{key}", Input).value.strip()
            if not text.isdecimal() or not least <= int(text) <= most:
                self.query_one(f"#{key}", Input).focus()
                return f"{name.capitalize()} must be a whole number from {least:,} to {most:,}."
            plan[key] = int(text)
        return plan

    @work(group="measure", exclusive=True)
    async def measure(self, plan: dict[str, int]) -> None:
        """Run the plan; what comes of it is posted."""
        error: BenchtopError | None = None
        try:
            self._measured = model = await self.desk.until_ready()
            samples = self.desk.workbench.bench.measure(
                model,
                prompt_tokens=plan["prompt"],
                new_tokens=plan["new"],
                rounds=plan["rounds"],
                streams=plan["streams"],
            )
            async with aclosing(samples) as open_samples:
                async for sample in open_samples:
                    self.post_message(self.Sampled(sample))
        except* BenchtopError as group:
            error = _first(group)
        finally:
            self.post_message(self.Stopped(error, early=get_current_worker().is_cancelled))

    @on(Sampled)
    def take(self, event: Sampled) -> None:
        from core.bench.runner import BenchPhase, Progress, RoundDone, RoundStarted, Summary

        match event.sample:
            case RoundStarted(round=number, rounds=rounds):
                self._say(f"Measuring round {number} of {rounds}.")
                self._results[str(number)] = [str(number), "", "", "", Content.styled("prefill", "$prefill")]
            case Progress(round=number, phase=phase, tokens=tokens, rate=rate):
                row = self._results[str(number)]
                row[4] = Content.styled(f"{phase.value} {fmt.format_count(tokens)}", f"${phase.value}")
                if phase is BenchPhase.DECODE:
                    self.query_one("#plot", Plot).push(rate)
            case RoundDone(round=number, prefill_rate=prefill, decode_rate=decode, time_to_first_token=first) as done:
                self._rounds.append(done)
                self._results[str(number)] = [
                    str(number),
                    fmt.format_rate(prefill),
                    fmt.format_rate(decode),
                    fmt.format_seconds(first),
                    Content.styled("done", "$quiet"),
                ]
            case Summary() as total:
                self._say(_summed(total.rounds, total.prefill_rate, total.decode_rate, total.decode_spread), bold=True)
                note = (
                    f"first token {fmt.format_seconds(total.time_to_first_token)}, memory {format_size(total.memory)}"
                )
                self.query_one("#results").border_subtitle = make_drawable(note, lines=False)
        self.query_one("#measured", RowTable).show(self._results)

    @on(Stopped)
    def settle(self, event: Stopped) -> None:
        self._measuring = False
        self.query_one("#start", Button).label = "Start"
        for cells in self._results.values():
            if isinstance(cells[4], Content) and cells[4].plain != "done":
                cells[4] = Content.styled("stopped", "$gauge-warn")
        self.query_one("#measured", RowTable).show(self._results)
        if event.error is not None:
            self.complain(event.error)
            self._say("The run failed.")
        elif event.early:
            self._say("Stopped before its end.")

    def _say(self, text: str, *, bold: bool = False) -> None:
        self.query_one("#summary", Static).update(Content.styled(text, "bold $decode" if bold else "$quiet"))


def _summed(rounds: int, prefill: float, decode: float, spread: float) -> str:
    return (
        f"Median of {fmt.format_plural(rounds, 'round')}: prefill {fmt.format_rate(prefill)} tok/s, "
        f"decode {fmt.format_rate(decode)} tok/s, spread {100 * spread:.1f}%"
    )


def _first(group: BaseExceptionGroup[BenchtopError]) -> BenchtopError:
    """The first error of a group; streams of one round usually fail for the same reason."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, BenchtopError)
    return error
