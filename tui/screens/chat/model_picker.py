"""The models that are here, as a list that typing narrows: those that are loaded first, the others with their fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from msgspec import Struct
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input

from core.contract.artifact import Artifact
from core.devices.device import Device
from core.errors import BenchtopError
from core.models.catalog import Task
from core.models.fit.estimate import Verdict
from core.models.library.scan import LibraryEntry
from core.models.store import Store
from core.sizes import format_size
from core.snapshots import ModelKind, ModelSnapshot
from tui import glyphs
from tui.fuzzy import pick_matches
from tui.screens.models.facts import format_verdict_word
from tui.screens.models.leaf import list_memory
from tui.screens.models.rows import Item, list_items
from tui.session import Desk
from tui.widgets.plain import Plain, make_drawable
from tui.widgets.row_list import Cell, Field, RowList

FIELDS = (
    Field("", 1),
    Field("model", 0),
    Field("quant", 9, rank=2),
    Field("size", 7, right=True, rank=1),
    Field("fit", 12),
)


class ModelChoice(Struct, frozen=True):
    """A model to talk with."""

    name: str
    """What loads it."""
    label: str
    """What it is called in the list."""
    size: int = 0
    """Bytes, on disk or in memory."""
    quant: str = ""
    served: str = ""
    """The name that it is served by; empty where it is not loaded."""
    entry: LibraryEntry | None = None


class _Finding(Struct, frozen=True):
    """What the header of a model that is not loaded tells."""

    kind: ModelKind = ModelKind.CHAT
    verdict: Verdict | None = None
    quant: str = ""


def list_choices(items: Iterable[Item]) -> tuple[ModelChoice, ...]:
    """Those that can be loaded now and generate text, the loaded ones first."""
    choices = [_choice(item) for item in items if _generates(item)]
    return tuple(sorted(choices, key=lambda choice: not choice.served))


def _generates(item: Item) -> bool:
    if item.model is not None:
        return item.model.kind is ModelKind.CHAT
    usable = item.entry is not None and item.entry.problem is None and item.entry.share is None
    return usable and item.task in (None, Task.CHAT)


def _choice(item: Item) -> ModelChoice:
    model, entry = item.model, item.entry
    label = item.name if model is None else model.name
    size = item.size or (model.weight_bytes if model is not None else 0)
    name = entry.name if entry is not None else label
    return ModelChoice(name, label, size, model.quantization if model else "", model.name if model else "", entry)


class ModelPicker(ModalScreen[None]):
    """`choose` is told which one it is to be."""

    BINDINGS = [("escape", "dismiss", "Leave it")]

    def __init__(
        self, desk: Desk, models: tuple[ModelSnapshot, ...], title: str, choose: Callable[[ModelChoice], None]
    ) -> None:
        """`models`: those that are loaded now."""
        super().__init__()
        self._desk = desk
        self._models = models
        self._title = title
        self._choose = choose
        self._choices: tuple[ModelChoice, ...] = ()
        self._findings: dict[str, _Finding] = {}
        self._whole = False
        """Whether the list holds all that is here."""
        self._waits = False
        """Enter was pressed before the list was there."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = make_drawable(self._title, lines=False)
            dialog.border_subtitle = "type to filter, enter takes it, escape leaves"
            yield Input(placeholder="letters of its name", select_on_focus=False)
            yield RowList(FIELDS, _key, self._cells, least=16, dom_id="choices")
            yield Plain(classes="hint")

    def on_mount(self) -> None:
        self._list.can_focus = False
        self._take(list_choices(list_items((), self._models, ())))
        self.look()

    @property
    def _list(self) -> RowList[ModelChoice]:
        return self.query_one("#choices", RowList)

    @work(exclusive=True, group="look")
    async def look(self) -> None:
        """List all that is here, then find out what fits, one model after another."""
        models = self._desk.workbench.models
        entries = await asyncio.to_thread(models.library)
        configured = await asyncio.to_thread(self._desk.configured, entries)
        items = list_items(entries, self._models, (), (), configured)
        self._take(list_choices(items))
        self._whole = True
        if self._waits:
            self._pick()
        memory = await asyncio.to_thread(list_memory)
        for choice in self._choices:
            if choice.entry is None or choice.served:
                continue
            finding = await asyncio.to_thread(_look_into, models.store, choice.entry, memory)
            if finding.kind is ModelKind.CHAT:
                self._findings[choice.name] = finding
                self._list.refresh()
            else:
                self._take(tuple(each for each in self._choices if each is not choice))

    def _take(self, choices: tuple[ModelChoice, ...]) -> None:
        self._choices = choices
        self._narrow()

    @on(Input.Changed)
    def _narrow(self) -> None:
        typed = self.query_one(Input).value
        shown = pick_matches(typed, self._choices, lambda choice: choice.label)
        self._list.show(shown, fresh=bool(typed))
        told = "" if shown else "No model here is called so; the models screen (F1) gets others."
        self.query_one(".hint", Plain).update(told)

    def on_key(self, event: Key) -> None:
        """The arrows move in the list, whatever has the focus."""
        if event.key in ("up", "down"):
            event.stop()
            self._list.action_move(-1 if event.key == "up" else 1)
        elif event.key in ("pageup", "pagedown"):
            event.stop()
            self._list.action_page(-1 if event.key == "pageup" else 1)

    @on(Input.Submitted)
    def _submit(self) -> None:
        self._waits = self._list.row is None and not self._whole
        self._pick()

    @on(RowList.Chosen)
    def _pick(self) -> None:
        if (choice := self._list.row) is not None:
            self.dismiss()
            self._choose(choice)

    def _cells(self, choice: ModelChoice) -> tuple[Cell, ...]:
        marks = glyphs.find_glyphs(self)
        finding = self._findings.get(choice.name, _Finding())
        fit = Content.styled("loaded", "$gauge-ok") if choice.served else format_verdict_word(finding.verdict)
        mark = Content.styled(marks.running, "$gauge-ok") if choice.served else ""
        size = format_size(choice.size) if choice.size else ""
        return mark, choice.label, choice.quant or finding.quant, size, fit


def _key(choice: ModelChoice) -> str:
    return choice.name


def _look_into(store: Store, entry: LibraryEntry, memory: tuple[Device, ...]) -> _Finding:
    """Touches the disk."""
    assert entry.format is not None
    artifact = Artifact(entry.name, entry.format, entry.path, entry.size)
    try:
        header = store.header(artifact)
        kind = store.expect_kind(artifact, header=header)
        return _Finding(
            kind,
            store.judge(header, profile=store.find_profile(entry.name), memory=memory).fit.verdict,
            header.quantization,
        )
    except BenchtopError:
        # Formats without a header, and damage, which loading tells.
        return _Finding()
