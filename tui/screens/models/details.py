"""The selected model: its facts, whether it fits with which context, and the quants one may take of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.contract.artifact import NO_FILES, Artifact
from core.errors import BenchtopError
from core.models.fit.estimate import Verdict
from core.sizes import format_size
from tui import format as fmt
from tui import glyphs
from tui.screens.models import facts
from tui.screens.models.fit import (
    Dial,
    QuantChoice,
    add_header,
    choose_to_read,
    describe_memory,
    judge_headers,
    set_dial,
)
from tui.screens.models.leaf import Leaf, list_memory, list_quants
from tui.screens.models.rows import Item, is_partial
from tui.session import LoadWish
from tui.widgets.plain import Plain, make_drawable
from tui.widgets.row_list import Cell, Field, RowList

if TYPE_CHECKING:
    from core.devices.device import Device
    from core.models.fit.estimate import Judged
    from core.models.hub.repository import Quant
    from core.models.store import Store

LINGER_SECONDS = 0.3
"""Seconds the cursor stays on something before files are read for it."""
FIELDS = (
    Field("", 1),
    Field("quant", 0),
    Field("size", 7, right=True),
    Field("fit", 14),
    Field("most", 7, right=True, rank=1),
    Field("tok/s", 6, right=True, rank=2),
)


class Details(Container):
    """`store` gives the store when it is first needed, `here` the names of the models on this machine."""

    class Weighed(Message):
        """It is known whether a model fits as it would be loaded."""

        def __init__(self, key: str, verdict: Verdict) -> None:
            super().__init__()
            self.key = key
            self.verdict = verdict

    def __init__(self, store: Callable[[], Store], here: Callable[[], Collection[str]]) -> None:
        super().__init__(id="details", classes="panel")
        self._store = store
        self._here = here
        self._item: Item | None = None
        self._leaves: dict[str, Leaf] = {}
        self._reading = ""
        """The key of the model whose header is being read."""
        self._machine: tuple[Device, ...] = ()
        """Another machine that is asked about; none for this one."""

    def compose(self) -> ComposeResult:
        yield Plain(id="facts")
        yield Plain(id="dial")
        yield RowList(FIELDS, lambda choice: choice.quant.name, self._cells, least=10, dom_id="quants")
        yield Plain(id="verdict")

    def on_mount(self) -> None:
        self.border_title = "details"
        self._draw()

    def on_descendant_focus(self) -> None:
        self._set_picking(self.quants.has_focus)

    def on_descendant_blur(self) -> None:
        self._set_picking(self.quants.has_focus)

    def on_resize(self) -> None:
        self._draw()

    def _set_picking(self, on: bool) -> None:
        """A narrow terminal has no room for the list beside the quants."""
        self.screen.set_class(on, "-picking")
        self._draw()

    def _pick(self) -> None:
        """Put the cursor among the quants."""
        self._set_picking(True)
        self.quants.focus()

    # What is looked at.

    @property
    def quants(self) -> RowList[QuantChoice]:
        return self.query_one("#quants", RowList)

    @property
    def leaf(self) -> Leaf:
        return self._leaves.get(self._item.key, Leaf()) if self._item is not None else Leaf()

    @property
    def choice(self) -> QuantChoice | None:
        """The quant under the cursor, while there are any."""
        return self.quants.row if self.leaf.choices else None

    @property
    def verdict(self) -> Judged | None:
        """Of that quant, or of the model that is here."""
        leaf = self.leaf
        index = self.quants.at if leaf.choices else 0
        return leaf.verdicts[index] if index < len(leaf.verdicts) else None

    @property
    def wish(self) -> LoadWish:
        """How the model is to be loaded, where the slider was moved."""
        dial = self.leaf.dial
        return LoadWish(dial.context, dial.kv) if dial is not None and self.leaf.turned else LoadWish()

    def look(self, item: Item | None) -> None:
        """Show a model; the header of one that is here is read once the cursor stays on it, or once it can be read: a
        model that was unloaded, or whose file has changed, is under the cursor already."""
        before, self._item = self._item, item
        moved = item is None or before is None or item.key != before.key
        self._draw(moved=moved)
        if item is not None and self.leaf.dial is not None and not self.leaf.verdicts:
            # Another machine was asked about meanwhile.
            self._weigh(item.key)
        if item is None or not _has_file(item):
            return
        stale = not moved and before is not None and _differs(before, item)
        if stale or (item.key not in self._leaves and item.key != self._reading):
            self._read(item)

    def open(self, item: Item) -> None:
        """Ask the Hub for the quants of a model, unless that was done, and let one be chosen."""
        self.look(item)
        if self.leaf.choices:
            self._pick()
        else:
            self._ask(item)

    def turn(self, to: Callable[[Dial], Dial]) -> None:
        """Set the slider anew; all verdicts follow."""
        leaf = self.leaf
        if self._item is None or leaf.dial is None:
            return
        self._put(self._item.key, replace(leaf, dial=to(leaf.dial), turned=True))
        self._weigh(self._item.key)

    @property
    def machine(self) -> tuple[Device, ...]:
        """Another machine that the verdicts are about; none where they are about this one."""
        return self._machine

    def imagine(self, machine: tuple[Device, ...]) -> None:
        """Ask what would fit into another machine, or with none of its devices into this one again."""
        self._machine = machine
        self._leaves = {key: replace(leaf, verdicts=()) for key, leaf in self._leaves.items()}
        self._draw()
        if self._item is not None and self.leaf.dial is not None:
            self._weigh(self._item.key)

    def refresh_here(self) -> None:
        """Other models are on this machine now."""
        here = self._here()
        for key, leaf in self._leaves.items():
            self._leaves[key] = replace(
                leaf, choices=tuple(replace(each, here=each.quant.name in here) for each in leaf.choices)
            )
        self._draw()

    # Finding out, on threads.

    def _read(self, item: Item) -> None:
        self._reading = item.key
        self._look_into(item)

    @work(exclusive=True, group="header")
    async def _look_into(self, item: Item) -> None:
        try:
            await asyncio.sleep(LINGER_SECONDS)
            entry, store = item.entry, self._store()
            assert entry is not None
            assert entry.format is not None
            artifact = Artifact(entry.name, entry.format, entry.path, entry.size)
            try:
                header = await asyncio.to_thread(store.header, artifact)
            except BenchtopError as error:
                self._put(item.key, Leaf(note=str(error)))
                return
            memory = await asyncio.to_thread(list_memory)
            await self._begin(item.key, Leaf(name=entry.name, header=header, memory=memory), 0)
        finally:
            if self._reading == item.key:
                self._reading = ""

    @work(exclusive=True, group="quants")
    async def _ask(self, item: Item) -> None:
        self._put(item.key, Leaf(note="Asking the Hub..."))
        try:
            leaf = await asyncio.to_thread(list_quants, self._store(), item, self._here())
        except BenchtopError as error:
            self._put(item.key, Leaf(note=str(error)))
            return
        self._put(item.key, leaf)
        if self._item is not None and self._item.key == item.key:
            self.quants.select(leaf.choices[leaf.usual].quant.name)
            self._pick()
        for quant in choose_to_read(leaf.choices, leaf.choices[leaf.usual].quant):
            await self._learn(item.key, quant)

    async def _learn(self, key: str, quant: Quant) -> None:
        """Read a quant's header, from which the others of its format can be told."""
        try:
            header = await asyncio.to_thread(self._store().header, quant)
        except BenchtopError as error:
            self._put(key, replace(self._leaves[key], note=str(error)))
            return
        leaf = self._leaves[key]
        leaf = replace(leaf, choices=add_header(leaf.choices, quant, header))
        if leaf.dial is None:
            await self._begin(key, leaf, leaf.usual)
        else:
            self._put(key, leaf)
            await self._judge(key)

    async def _begin(self, key: str, leaf: Leaf, usual: int) -> None:
        """The first verdict is for what loading would choose; there the slider starts."""
        header, memory = leaf.headers[usual : usual + 1], self._machine or leaf.memory
        (first,) = await asyncio.to_thread(judge_headers, self._store(), leaf.name, header, None, memory)
        if first is None:
            self._put(key, leaf)
            return
        started = set_dial(first.header.trained_context, first.setup.context, first.setup.kv)
        before = self._leaves.get(key, Leaf())
        if before.turned and before.dial is not None and before.dial.steps == started.steps:
            # Set by hand, and still what is wanted.
            self._put(key, replace(leaf, dial=before.dial, turned=True))
        else:
            self._put(key, replace(leaf, dial=started))
        if not self._machine:
            self.post_message(self.Weighed(key, first.fit.verdict))
        await self._judge(key)

    @work(exclusive=True, group="weigh")
    async def _weigh(self, key: str) -> None:
        await self._judge(key)

    async def _judge(self, key: str) -> None:
        leaf, machine = self._leaves[key], self._machine
        memory = machine or leaf.memory
        verdicts = await asyncio.to_thread(judge_headers, self._store(), leaf.name, leaf.headers, leaf.dial, memory)
        now = self._leaves[key]
        if (now.dial, now.headers, self._machine) == (leaf.dial, leaf.headers, machine):
            self._put(key, replace(now, verdicts=verdicts))

    @on(RowList.Moved, "#quants")
    def _linger(self, event: RowList.Moved) -> None:
        event.stop()
        self._draw()
        choice, item = self.choice, self._item
        if choice is not None and item is not None and choice.header is not None and not choice.own and choice.runs:
            self._own(item.key, choice.quant)

    @work(exclusive=True, group="own")
    async def _own(self, key: str, quant: Quant) -> None:
        """Its own header instead of one made of another's; it is read by ranges, and kept."""
        await asyncio.sleep(LINGER_SECONDS)
        await self._learn(key, quant)

    # Drawing.

    def redraw(self) -> None:
        """What it is drawn with is another."""
        self._draw()

    def _put(self, key: str, leaf: Leaf) -> None:
        self._leaves[key] = leaf
        if self._item is not None and self._item.key == key and self.is_mounted:
            self._draw()

    def _draw(self, *, moved: bool = False) -> None:
        if not self.query("#verdict"):
            # A file was read while the screen was taken down.
            return
        leaf, item = self.leaf, self._item
        quants = self.quants
        if moved:
            self.scroll_home(animate=False)
        if moved and not leaf.choices and quants.has_focus:
            self.screen.set_focus(None)
        quants.display = picking = bool(leaf.choices) and (self._picking or not self._narrow)
        lines = len(leaf.choices) + 1
        quants.styles.max_height, quants.styles.min_height = lines, min(4, lines)
        quants.show(leaf.choices, fresh=moved)
        if moved and leaf.choices:
            quants.select(leaf.choices[leaf.usual].quant.name)
        self.query_one("#facts", Static).update(self._facts(item))
        slider = (
            facts.format_dial(leaf.dial, glyphs.find_glyphs(self), paired=self._narrow)
            if leaf.dial is not None
            else None
        )
        self._line("#dial", slider)
        keys = ("enter gets it, " * picking + "- + context, v KV type") if leaf.dial is not None else ""
        self.border_subtitle = make_drawable(keys)
        self._line("#verdict", self._verdict(leaf, item))

    def _facts(self, item: Item | None) -> Content:
        if item is None:
            return Content.styled("Nothing is selected.", "$quiet")
        return facts.format_item(item, glyphs.find_glyphs(self).cut, paired=self._narrow)

    @property
    def _narrow(self) -> bool:
        return not self.screen.has_class("-wide")

    @property
    def _picking(self) -> bool:
        return self.screen.has_class("-picking")

    def _verdict(self, leaf: Leaf, item: Item | None) -> Content | None:
        lines = self._asked_machine(leaf)
        if (verdict := self.verdict) is not None and leaf.dial is not None:
            if not self.quants.display:
                label = f"{self.choice.quant.label} " if self.choice is not None else ""
                lines.append(Content(label).append(facts.format_verdict(verdict)))
            lines.append(facts.format_sum(verdict, paired=self._narrow))
            lines += facts.format_plan(verdict, imagined=bool(self._machine))
            lines += facts.list_fit_notes(verdict)
        if (choice := self.choice) is not None and not choice.runs:
            lines.append(Content.styled(f"No engine here runs {choice.quant.format} models.", "$warning"))
        if leaf.note:
            lines.append(Content.styled(leaf.note, "$warning"))
        elif item is not None and item.entry is not None and is_partial(item.entry):
            lines.append(Content.styled("Enter goes on with its download; d deletes what is here of it.", "$quiet"))
        elif item is not None and item.remote and not leaf.choices:
            lines.append(Content.styled("Press enter to see its quants, and which of them fit.", "$quiet"))
        elif leaf.choices and self._narrow and not self._picking:
            lines.append(Content.styled("Press enter to choose among its quants.", "$quiet"))
        elif not self._narrow and item is not None and item.entry is not None and _ready(item):
            lines.append(Content.styled(f"Press enter to load it{self.wish}.", "$quiet"))
        elif item is not None and item.model is not None and self.wish.given:
            lines.append(Content.styled(f"Press enter to load it anew{self.wish}.", "$quiet"))
        return Content("\n").join(lines) if lines else None

    def _asked_machine(self, leaf: Leaf) -> list[Content]:
        if not self._machine or leaf.dial is None:
            return []
        asked = f"On another machine, with {describe_memory(self._machine)}; M asks about this one again."
        return [Content.styled(asked, "$warning")]

    def _line(self, selector: str, content: Content | None) -> None:
        line = self.query_one(selector, Static)
        line.display = content is not None
        line.update(content if content is not None else "")

    def _cells(self, choice: QuantChoice) -> Sequence[Cell]:
        leaf = self.leaf
        index = leaf.choices.index(choice) if choice in leaf.choices else len(leaf.verdicts)
        verdict = leaf.verdicts[index] if index < len(leaf.verdicts) else None
        return (
            Content.styled(glyphs.find_glyphs(self).running if choice.here else " ", "$primary"),
            choice.quant.label,
            format_size(choice.quant.size),
            facts.format_place(verdict) if choice.runs else "no engine",
            fmt.format_count(verdict.largest) if verdict is not None and verdict.largest else "-",
            verdict.speed.bound if verdict is not None and verdict.speed is not None and verdict.fit.plan.fits else "",
        )


def _has_file(item: Item) -> bool:
    entry = item.entry
    return entry is not None and entry.format is not None and entry.format not in NO_FILES and item.model is None


def _differs(before: Item, now: Item) -> bool:
    """Whether what was found out about a model no longer holds: its memory came free, or its file is another."""
    if before.model is not None or before.entry is None or now.entry is None:
        return True
    then, there = before.entry, now.entry
    return (then.path, then.size, then.problem) != (there.path, there.size, there.problem)


def _ready(item: Item) -> bool:
    return item.model is None and item.entry is not None and not item.entry.problem
