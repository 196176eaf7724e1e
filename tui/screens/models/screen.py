"""The models: what is here and what one could have, whether it fits, what is on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, final

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Static

from core.errors import BenchtopError, HubError
from core.sizes import format_size
from core.snapshots import ModelSnapshot, ModelState, Snapshot
from tui import format as fmt
from tui import glyphs
from tui.actions.action import build_bindings
from tui.screens.models.actions import ACTIONS
from tui.screens.models.details import Details
from tui.screens.models.downloads import Transfers
from tui.screens.models.file_actions import Keeping
from tui.screens.models.rows import (
    TASKS,
    Item,
    ListSection,
    Order,
    View,
    Where,
    drop_traffic,
    find_repo,
    guess_verdict,
    is_partial,
    list_items,
    pick_items,
)
from tui.screens.models.search import Search, SearchField, SectionTab
from tui.screens.models.starters import StartersCard, choose_starters, has_own_models
from tui.screens.models.table import Around, ShelfTable, group_by_repository
from tui.widgets.device_gauges import DeviceGauges
from tui.widgets.gauge import Gauge
from tui.widgets.plain import Plain
from tui.widgets.row_list import RowList

if TYPE_CHECKING:
    from core.models.catalog import CatalogEntry
    from core.models.hub.search import Filters, Found, Page
    from core.models.library.scan import LibraryEntry
    from core.settings.model import ModelSettings

PAUSE_SECONDS = 0.35
"""Seconds without a key before the Hub is asked."""
WAITING = "Asking the Hub..."
LEAST_CHARACTERS = 2
"""Characters from which it is."""
SCROLL_LINES = 3
"""Lines by which the details are scrolled at once."""
SELECTING = frozenset(action.method for action in ACTIONS if action.selects)
"""Textual actions that are about the list of models."""
SORTS = {Order.LIKES: "LIKES", Order.UPDATED: "UPDATED"}
"""Orders that the Hub knows; it is asked for what is downloaded most otherwise."""


@final
class ModelsScreen(Keeping):
    """The search above the table, the details of what is selected beside it, the downloads and the memory below."""

    NAME = "models"
    ACTIONS = ACTIONS
    BINDINGS = build_bindings(ACTIONS)
    AUTO_FOCUS = "#library"

    def __init__(self) -> None:
        super().__init__()
        self.view = View()
        self._entries: tuple[LibraryEntry, ...] = ()
        self._configured: tuple[LibraryEntry, ...] = ()
        self._models: tuple[ModelSnapshot, ...] = ()
        self._found: tuple[Found, ...] = ()
        self._answered = ""
        self._more: str | None = None
        self._hub = ""
        self._items: tuple[Item, ...] = ()
        self._around = Around()
        self._scanned = False
        self._marks = glyphs.UNICODE
        self._starters: tuple[CatalogEntry, ...] = ()
        self._options: dict[str, dict[str, str]] = {}
        """What was written into the fields of load options, by the names of models."""

    def body(self) -> ComposeResult:
        yield Search(id="search-bar")
        with Container(id="shelf"):
            with Vertical(id="listed"):
                yield StartersCard()
                with Container(classes="panel", id="models") as models:
                    models.border_title = "models"
                    yield ShelfTable()
                    yield Plain("Looking for models...", id="no-models")
            yield Details(lambda: self.store, self._names_here)
        yield Transfers()
        yield Gauge("memory", value_width=41, dom_id="pool")
        yield DeviceGauges()

    @property
    def table(self) -> ShelfTable:
        return self.query_one(ShelfTable)

    @property
    def details(self) -> Details:
        return self.query_one(Details)

    # What there is.

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.rescan()

    @on(Keeping.Scanned)
    def _take(self, event: Keeping.Scanned) -> None:
        if not self.standing:
            return
        self._entries, self.servers, self._scanned = event.entries, event.servers, True
        self._configured = event.configured
        self._restock()
        self.details.refresh_here()
        self.tell_came(event.came, event.entries)

    def show(self, snapshot: Snapshot) -> None:
        self.watch_transfers()
        self._gauge(snapshot)
        self._suggest(snapshot)
        if (marks := glyphs.find_glyphs(self)) is not self._marks:
            self._marks = marks
            self._draw()
            self.details.redraw()
            self.query(RowList).refresh()
        free = snapshot.machine.memory_available
        near = abs(free - self._around.free) < free // 20
        models = tuple(map(drop_traffic, snapshot.models))
        changed = (models, self.desk.model) != (self._models, self._around.used)
        if not changed and near:
            return
        gone = len(models) != len(self._models)
        self._models = models
        self._around = replace(self._around, used=self.desk.model, free=free)
        if gone:
            self.rescan()
        self._restock()

    def _gauge(self, snapshot: Snapshot) -> None:
        pool, free = snapshot.pool, snapshot.machine.memory_available
        share = pool.used / pool.limit if pool.limit else 0.0
        limit = f"{format_size(pool.used)} of {format_size(pool.limit)}" if pool.limit else "nothing loaded"
        self.query_one("#pool", Gauge).show(share, f"models {limit}, {format_size(free)} free")
        self.query_one(DeviceGauges).show(snapshot.machine)

    def _suggest(self, snapshot: Snapshot) -> None:
        """Name a few models to somebody who has none, unless one is on its way or looked for."""
        busy = self._around.transfers or self.view.words or self.view.filtered or self.servers
        wanted = self._scanned and not busy and not has_own_models(self._entries)
        self._starters = choose_starters(self.store.catalog, self.store.formats, snapshot.machine) if wanted else ()
        self.query_one(StartersCard).show(self._starters)

    def _names_here(self) -> frozenset[str]:
        return frozenset(entry.name for entry in self._entries if not entry.problem)

    def _restock(self) -> None:
        self._items = list_items(
            (*self._entries, *self.servers), self._models, self.store.catalog, self._found, self._configured
        )
        here = {find_repo(entry).lower() for entry in self._entries if not entry.problem}
        self._around = replace(self._around, here=here - {""})
        self._draw()

    def transfers_changed(self) -> None:
        self._around = replace(self._around, transfers=group_by_repository(self.query_one(Transfers).items))
        self.table.around = self._around
        # What is told of them may want a wider column.
        self.table.show(self.table.rows)

    def _draw(self, *, fresh: bool = False) -> None:
        verdicts = {}
        if self.view.order is Order.FIT:
            guessed = ((item.key, guess_verdict(item, self._around.free)) for item in self._items)
            verdicts = {key: verdict for key, verdict in guessed if verdict is not None} | dict(self._around.verdicts)
        # Before the disk was looked at the cursor would settle on what comes behind what is here.
        items = self._items if self._scanned else ()
        rows = pick_items(items, self.view, answered=self._answered, verdicts=verdicts)
        table = self.table
        table.around = self._around
        table.set_section(self.view.section)
        table.show(rows, fresh=fresh)
        self.query_one(Search).tell(self.view, len(rows), len(self._items), self._hub)
        empty = self.query_one("#no-models", Static)
        empty.display = not rows
        empty.update(self._why_empty())
        # Out of sight it would lose the focus, and the next key would go to the search field.
        table.styles.height = "1fr" if rows else 1
        self.details.look(table.row)
        if self.focused is None:
            table.focus()

    def _why_empty(self) -> str:
        view = self.view
        if not self._scanned:
            return "Looking for models..."
        if view.section is ListSection.HUB and len(view.words.strip()) < LEAST_CHARACTERS:
            return "Press / and type at least two letters; the Hub is asked for them."
        if view.section is ListSection.HUB and (self._hub or not view.filtered):
            return self._hub or f"The Hub has nothing called {view.words!r}."
        if view.filtered:
            return "No model passes the filters; f changes them, and backspace there clears them."
        if view.words:
            return f"Nothing here is called {view.words!r}; escape in the search field clears it."
        return "No models here yet. Press s for the catalog, or o to open a file by its path."

    @on(RowList.Moved, "#library")
    def _moved(self, event: RowList.Moved) -> None:
        self.details.look(self.table.row)
        if self._more is not None and self.table.at == len(self.table.rows) - 1 and self._asks_hub:
            self._search_on(self._more)

    @on(Details.Weighed)
    def _weighed(self, event: Details.Weighed) -> None:
        self._around = replace(self._around, verdicts={**self._around.verdicts, event.key: event.verdict})
        self.table.around = self._around
        self.table.refresh()

    # Looking for models.

    @on(Search.Typed)
    def _typed(self, event: Search.Typed) -> None:
        self.look_for(replace(self.view, words=event.words))

    @on(SearchField.Left)
    def _leave_search(self) -> None:
        self.table.focus()

    @on(SectionTab.Chosen)
    def _choose_section(self, event: SectionTab.Chosen) -> None:
        self.look_for(replace(self.view, section=event.section))

    def look_for(self, view: View) -> None:
        """Show another view at once, and ask the Hub where it is part of it."""
        asked = replace(view, section=ListSection.ALL) != replace(self.view, section=ListSection.ALL)
        self.view = view
        if not self._asks_hub:
            self.workers.cancel_group(self, "hub")
            self._hub = ""
            if len(view.words.strip()) < LEAST_CHARACTERS and self._found:
                self._found, self._answered, self._more = (), "", None
                self._restock()
        elif asked or self._answered != view.words:
            self._hub = WAITING
            self._search()
        self._draw(fresh=True)

    @property
    def _asks_hub(self) -> bool:
        view = self.view
        return view.section in (ListSection.ALL, ListSection.HUB) and len(view.words.strip()) >= LEAST_CHARACTERS

    @work(exclusive=True, group="hub")
    async def _search(self) -> None:
        """A later search takes the place of this one, whose answer is then not looked at."""
        await asyncio.sleep(PAUSE_SECONDS)
        await self._answer(self.view)

    @work(exclusive=True, group="hub")
    async def _search_on(self, more: str) -> None:
        self._more = None
        await self._answer(self.view, more)

    async def _answer(self, view: View, more: str | None = None) -> None:
        self._tell_hub(WAITING)
        try:
            page: Page = await asyncio.to_thread(self.store.search, view.words, build_filters(view), more)
        except HubError as error:
            self._tell_hub(str(error))
            return
        if not self.standing:
            return
        self._hub, self._answered, self._more = "", view.words, page.more
        known = {found.id for found in self._found} if more is not None else set()
        before = self._found if more is not None else ()
        self._found = (*before, *(found for found in page.found if found.id not in known))
        self._restock()

    def _tell_hub(self, sentence: str) -> None:
        if not self.standing:
            return
        self._hub = sentence
        self.query_one(Search).tell(self.view, len(self.table.rows), len(self._items), sentence)
        self.query_one("#no-models", Static).update(self._why_empty())

    def action_search(self) -> None:
        self.query_one(SearchField).focus()

    def action_source(self) -> None:
        sections = list(ListSection)
        at = sections.index(self.view.section) + 1
        self.look_for(replace(self.view, section=sections[at % len(sections)]))

    def action_order(self) -> None:
        orders = list(Order)
        at = orders.index(self.view.order) + 1
        self.look_for(replace(self.view, order=orders[at % len(orders)]))

    def action_narrow(self) -> None:
        from tui.screens.models.filter_dialog import Narrow

        self.app.push_screen(Narrow(self.view, self.look_for))

    # The selected model.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about the list of models must not be done unseen, while the cursor is among the downloads."""
        return not (self.among_downloads and action in SELECTING) and super().check_action(action, parameters)

    @on(RowList.Chosen)
    def _choose(self) -> None:
        if self.among_downloads:
            self.action_pause()
        else:
            self.action_load()

    def action_load(self) -> None:
        """What enter means where the cursor is."""
        focused = self.focused
        item = self.table.row
        if item is None:
            return
        if focused is not None and focused.id == "quants":
            self.take_quant()
        elif item.model is not None and item.model.state is ModelState.READY and self.details.wish.given:
            self.bench.load(item.model.name, self.details.wish)
        elif item.model is not None and item.model.state is ModelState.READY:
            self.desk.use(item.model.name)
            self.notify(f"Chat and bench use {item.name} now.", markup=False)
            self.bench.pulse()
        elif item.entry is not None:
            self._load_entry(item, item.entry)
        elif item.remote:
            self.details.open(item)

    def _load_entry(self, item: Item, entry: LibraryEntry) -> None:
        if entry.problem and self.go_on(entry):
            self.notify(f"Going on with the download of {item.name}.", markup=False)
        elif is_partial(entry):
            self.notify(
                f"{item.name} is here in part, by a download that is not listed; search for it with / and choose its "
                "quant, and that goes on from there.",
                severity="warning",
                markup=False,
            )
        elif entry.problem:
            self.notify(f"{item.name} cannot be loaded: {entry.problem}", severity="error", markup=False)
        else:
            self.bench.load(entry.name, self.details.wish)

    def action_get_starter(self) -> None:
        if not self._starters:
            self.notify("There are models here already; / finds others.")
            return
        self.look_for(replace(self.view, section=ListSection.ALL, order=Order.LISTED))
        self.table.select(f"catalog:{self._starters[0].alias}")
        self.table.focus()
        if (item := self.table.row) is not None and item.remote:
            self.details.open(item)

    def action_load_options(self) -> None:
        from tui.screens.models.load_dialog import LoadDialog

        item = self.table.row
        name = item.model.name if item is not None and item.model is not None else ""
        if item is not None and item.model is None and item.entry is not None and not item.entry.problem:
            name = item.entry.name
        if item is None or not name:
            self.notify("Only a model that is here can be loaded; choose its quant first.", severity="warning")
            return

        def load(written: dict[str, str], settings: ModelSettings) -> None:
            self._options[item.key] = written
            self.bench.load(name, replace(self.details.wish, more=settings))

        self.app.push_screen(LoadDialog(item.name, self._options.get(item.key, {}), load))

    def action_scroll_details(self, by: int) -> None:
        self.details.scroll_relative(y=by * SCROLL_LINES, animate=False)

    def action_back(self) -> None:
        self.table.focus()

    def action_unload(self) -> None:
        """At once, as it can be loaded again; where answers would end with it, after a question."""
        item = self.table.row
        if item is None or item.model is None:
            self.notify("The selected model is not loaded.", severity="warning")
            return
        name = item.model.name
        if answers := self.bench.answering(name):
            what = f"{name} writes {fmt.format_plural(answers, 'answer')}, which would end. Unload it all the same?"
            self._ask("unload", what, {"y": ("Unload", lambda: self._unload(item, name))})
        else:
            self._unload(item, name)

    @work(group="unload")
    async def _unload(self, item: Item, name: str) -> None:
        try:
            await self.desk.unload(name)
        except BenchtopError as error:
            self.complain(error)
        else:
            # A file from elsewhere is in no list any more.
            listed = item.where is not Where.LOADED
            self.last_file = "" if listed else self.desk.asked_as(name)
            self.notify(f"{name} is unloaded; {'enter on it loads' if listed else 'o and enter load'} it again.")
        self.bench.pulse()

    def action_pin(self) -> None:
        item = self.table.row
        if item is None or item.model is None:
            self.notify("Only a loaded model can be pinned.", severity="warning")
            return
        try:
            self.desk.workbench.models.pin(item.model.name, not item.model.pinned)
        except BenchtopError as error:
            self.complain(error)
        self.bench.pulse()

    def action_rescan(self) -> None:
        self.rescan()


def build_filters(view: View) -> Filters:
    """What the Hub is asked for a view."""
    from core.models.hub.search import Filters, Sort

    return Filters(
        task=next((word for word, task in TASKS.items() if task is view.task), None),
        format=view.format,
        licence=view.licence,
        most_parameters=view.most_parameters,
        open_only=view.open_only,
        sort=Sort[SORTS.get(view.order, "DOWNLOADS")],
    )
