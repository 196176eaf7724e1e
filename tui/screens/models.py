"""The models: what is loaded, what lies on disk, and which engines could run them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable, Static

from core.errors import BenchtopError
from core.feed import ModelSnapshot, ModelState, Snapshot
from tui import format as fmt
from tui import glyphs
from tui.actions import Scope, bindings
from tui.screens.room import Room
from tui.widgets.engines import EngineTable
from tui.widgets.rows import WIDE, Cell, Column, Rows

if TYPE_CHECKING:
    from core.engines import EngineReport
    from core.models.library import LibraryEntry


NAME_WIDTH = 24
PAIR = 28
"""Characters for a value where two facts share a line."""


class ModelRow(Struct, frozen=True):
    """One line of the table: a file, a loaded model, or both at once."""

    key: str
    """What to load it by."""
    name: str
    entry: LibraryEntry | None
    model: ModelSnapshot | None


class ModelsScreen(Room):
    """A table of models with the details of the one selected, and the engines below."""

    NAME = "models"
    BINDINGS = bindings(Scope.MODELS)
    AUTO_FOCUS = "#library"

    class Scanned(Message):
        """The disk and the engines were looked at."""

        def __init__(self, entries: tuple[LibraryEntry, ...], engines: tuple[EngineReport, ...]) -> None:
            super().__init__()
            self.entries = entries
            self.engines = engines

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[LibraryEntry, ...] = ()
        self._rows: tuple[ModelRow, ...] = ()
        self._models: tuple[ModelSnapshot, ...] = ()
        self._used = ""
        self._detailed: tuple[object, ...] = ()

    def body(self) -> ComposeResult:
        with Container(id="shelf"):
            with Container(classes="panel", id="models") as models:
                models.border_title = "models"
                yield Rows(
                    [
                        Column("", 1),
                        Column("name", NAME_WIDTH),
                        Column("engine", 9, wide_only=True),
                        Column("format", 6),
                        Column("size", 8, right=True),
                        Column("state", 10),
                    ],
                    dom_id="library",
                )
                yield Static("Looking for models...", id="no-models")
            with VerticalScroll(classes="panel", id="details") as details:
                details.border_title = "details"
                yield Static(id="facts", markup=False)
        with Container(classes="panel", id="engines") as engines:
            engines.border_title = "engines"
            yield EngineTable(id="engine-table")

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.rescan()

    @work(exclusive=True, group="scan")
    async def rescan(self) -> None:
        """Look at the disk and the engines, on a thread: both may be slow."""
        workbench = self.desk.workbench
        entries = await asyncio.to_thread(workbench.library)
        engines = await asyncio.to_thread(workbench.engines)
        self.post_message(self.Scanned(entries, engines))

    @on(Scanned)
    def take(self, event: Scanned) -> None:
        self._entries = event.entries
        self.query_one(EngineTable).show(event.engines)
        self._draw()

    def show(self, snapshot: Snapshot) -> None:
        if (snapshot.models, self.desk.model) != (self._models, self._used):
            gone = len(snapshot.models) != len(self._models)
            self._models, self._used = snapshot.models, self.desk.model
            if gone:
                self.rescan()
            self._draw()

    def _draw(self) -> None:
        self._rows = rows(self._entries, self._models)
        marks = glyphs.of(self)
        table = self.query_one("#library", Rows)
        table.show({row.key: self._cells(row, marks) for row in self._rows})
        empty = self.query_one("#no-models", Static)
        empty.display = not self._rows
        empty.update("No models here yet. Press o to open a .gguf file by its path.")
        self._draw_details()

    def _cells(self, row: ModelRow, marks: glyphs.Glyphs) -> list[Cell]:
        entry, model = row.entry, row.model
        used = model is not None and model.name == self.desk.model
        kind = entry.format.value if entry is not None and entry.format is not None else "?" if entry else ""
        size = entry.size if entry is not None else model.weight_bytes if model is not None else 0
        return [
            Content.styled(marks.running if used else " ", "$primary"),
            fmt.clip(row.name, NAME_WIDTH, marks.cut),
            model.engine if model is not None else "",
            kind,
            fmt.size(size) if size else "-",
            state_of(row),
        ]

    def _selected(self) -> ModelRow | None:
        key = self.query_one("#library", Rows).selected
        return next((row for row in self._rows if row.key == key), None)

    @on(DataTable.RowHighlighted, "#library")
    def _draw_details(self) -> None:
        row = self._selected()
        if (shown := (row, self.size.width)) == self._detailed:
            return
        self._detailed = shown
        facts = self.query_one("#facts", Static)
        facts.update(
            details(row, self.size.width < WIDE)
            if row is not None
            else Content.styled("Nothing is selected.", "$quiet")
        )

    @on(DataTable.RowSelected, "#library")
    def action_load(self) -> None:
        """Load the selected model; one that is loaded becomes the one that chat and bench use."""
        row = self._selected()
        if row is None:
            return
        if row.model is not None and row.model.state is ModelState.READY:
            self.desk.use(row.model.name)
            self.notify(f"Chat and bench use {row.name} now.", markup=False)
            self.bench.pulse()
        elif row.entry is not None and row.entry.problem:
            self.notify(f"{row.name} cannot be loaded: {row.entry.problem}", severity="error", markup=False)
        else:
            self.bench.load(row.key)

    @work(group="unload")
    async def action_unload(self) -> None:
        row = self._selected()
        if row is None or row.model is None:
            self.notify("The selected model is not loaded.", severity="warning")
            return
        try:
            await self.desk.unload(row.model.name)
        except BenchtopError as error:
            self.complain(error)
        self.bench.pulse()

    def action_open(self) -> None:
        from tui.screens.ask import Ask

        self.app.push_screen(Ask("Open a model file", "", self._open, placeholder="path to a .gguf file"))

    def _open(self, answer: str) -> str | None:
        path = Path(answer).expanduser()
        if not path.is_file():
            return f"There is no file {path}."
        self.bench.load(str(path))
        return None

    def action_rescan(self) -> None:
        self.rescan()


def rows(entries: tuple[LibraryEntry, ...], models: tuple[ModelSnapshot, ...]) -> tuple[ModelRow, ...]:
    """Files with the loaded models made of them, then loaded models whose file is elsewhere."""
    left = {model.name: model for model in models}
    out = []
    for entry in entries:
        short = entry.path.stem if entry.name == str(entry.path) else entry.name
        model = left.pop(entry.name, None) or left.pop(short, None)
        out.append(ModelRow(entry.name, short, entry, model))
    return (*out, *(ModelRow(name, name, None, model) for name, model in left.items()))


def state_of(row: ModelRow) -> Content:
    """In words, coloured alike."""
    if row.model is not None:
        state = row.model.state
        style = (
            "$gauge-ok" if state is ModelState.READY else "$gauge-full" if state is ModelState.FAILED else "$gauge-warn"
        )
        return Content.styled(state.value, style)
    if row.entry is not None and row.entry.problem:
        return Content.styled("damaged", "$gauge-full")
    return Content.styled("on disk", "$quiet")


def details(row: ModelRow, paired: bool) -> Content:
    """Everything known of a model, a line each; two facts to a line where `paired`."""
    lines = [Content.styled(row.name, "bold")]
    if row.entry is not None:
        lines.append(_fact("file", str(row.entry.path)))
    facts = _facts(row)
    step = 2 if paired else 1
    lines += [
        Content("").join([_fact(name, value, PAIR) for name, value in facts[at : at + step]])
        for at in range(0, len(facts), step)
    ]
    bad = row.entry.problem if row.entry is not None else None
    if bad:
        lines.append(Content.styled(bad, "$warning"))
    elif row.model is None:
        lines.append(Content.styled("Press enter to load it.", "$quiet"))
    else:
        lines += [Content.styled(note, "$quiet") for note in (row.model.detail, *row.model.notes) if note]
    return Content("\n").join(lines)


def _facts(row: ModelRow) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    if row.entry is not None:
        facts.append(("on disk", fmt.size(row.entry.size) if row.entry.size else "-"))
    if (model := row.model) is not None:
        threads = f", {fmt.plural(model.threads, 'thread')}" if model.threads else ""
        facts += [
            ("engine", model.engine + threads),
            ("kind", " ".join(filter(None, (model.architecture, model.quantization))) or "-"),
            ("params", fmt.short(model.parameters) if model.parameters else "-"),
            ("context", f"{fmt.count(model.context)} tokens"),
            ("slots", f"{model.slots_used} of {model.slots} in use"),
            ("weights", fmt.size(model.weight_bytes) if model.weight_bytes else "-"),
            ("KV", f"{fmt.size(model.kv_bytes_per_token)} a token" if model.kv_bytes_per_token else "-"),
        ]
    return facts


def _fact(name: str, value: str, width: int = 0) -> Content:
    return Content.assemble((f"{name:<8} ", "$quiet"), f"{value:<{width}}")
