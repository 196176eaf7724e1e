"""A part of the models screen: what it does with files, which it looks for, downloads and deletes, and the slider's
keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace
from textual import work
from textual.message import Message

from core.devices.listing import describe_host
from core.errors import BenchtopError, GatedRepository
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.fit.estimate import Verdict
from core.models.library.delete import find_repo
from core.models.library.scan import LibraryEntry, Location
from core.sizes import format_size
from tui import format as fmt
from tui.dialogs.confirm import Confirm
from tui.screens.models.adding import Adding
from tui.screens.models.details import Details
from tui.screens.models.downloads import STOPPED, DownloadLines, Transfers
from tui.screens.models.fit import read_machine
from tui.screens.models.rows import Where
from tui.screens.models.table import ShelfTable

if TYPE_CHECKING:
    from core.models.hub.repository import Quant
    from core.models.store import Store


class Keeping(Adding):
    """Expects the widgets of the models screen."""

    class Scanned(Message):
        """The disk, or the servers, were looked at."""

        def __init__(
            self,
            entries: tuple[LibraryEntry, ...],
            servers: tuple[LibraryEntry, ...],
            configured: tuple[LibraryEntry, ...],
            came: frozenset[str] = frozenset(),
        ) -> None:
            """`came`: the downloads that were done before."""
            super().__init__()
            self.entries = entries
            self.servers = servers
            self.configured = configured
            self.came = came

    def __init__(self) -> None:
        super().__init__()
        self.servers: tuple[LibraryEntry, ...] = ()
        """What they have, as far as they were asked."""
        self._polling = False
        self._states: dict[str, DownloadState] = {}
        self._complained = ""
        self.last_machine = ""
        """What was asked about last in place of this machine."""
        self.came: set[str] = set()
        """Names of models that were downloaded since the disk was looked at."""

    @property
    def standing(self) -> bool:
        """False while the screen is taken down: its widgets go before its work ends."""
        return self.is_mounted and bool(self.query(ShelfTable))

    @property
    def store(self) -> Store:
        return self.desk.workbench.models.store

    @work(exclusive=True, group="scan")
    async def rescan(self) -> None:
        """Look at the disk and then at the servers, on a thread: both may be slow."""
        came = frozenset(self.came)
        entries = await asyncio.to_thread(self.desk.workbench.models.library)
        configured = await asyncio.to_thread(self.desk.configured, entries)
        self.post_message(self.Scanned(entries, self.servers, configured, came))
        if self.desk.settings.library.servers:
            self.post_message(self.Scanned(entries, await asyncio.to_thread(self.store.ask_servers), configured))

    def transfers_changed(self) -> None:
        """The downloads are elsewhere than they were."""

    # Downloads.

    def watch_transfers(self) -> None:
        """Look at the downloads unless that is being done."""
        if not self._polling:
            self._polling = True
            self._poll()

    @work(group="transfers")
    async def _poll(self) -> None:
        try:
            items = await asyncio.to_thread(lambda: self.store.downloads.items())
        except BenchtopError as error:
            if str(error) != self._complained:
                self._complained = str(error)
                self.complain(error)
            return
        finally:
            self._polling = False
        if not self.standing:
            return
        panel = self.query_one(Transfers)
        if items != panel.items:
            any_before = bool(panel.lines.rows)
            panel.show(items)
            self.transfers_changed()
            if any_before and not panel.lines.rows and panel.lines.has_focus:
                # Nothing is left to look at.
                self.query_one(ShelfTable).focus()
        self._tell_done(items)

    def _tell_done(self, items: tuple[DownloadItem, ...]) -> None:
        """A model that came since the last look can be loaded now."""
        before = self._states
        self._states = before | {item.id: item.state for item in items}
        done = [item for item in items if item.state is DownloadState.DONE and item.id in before]
        done = [item for item in done if before[item.id] is not DownloadState.DONE]
        if done:
            # Only a look at the files tells what became of them.
            self.came |= {item.name for item in done}
            self.rescan()

    def tell_came(self, names: Collection[str], entries: Sequence[LibraryEntry]) -> None:
        """Tell of what was downloaded, once it is known whether it can be loaded."""
        there = {entry.name: entry for entry in entries}
        for name in sorted(self.came.intersection(names)):
            entry = there.get(name)
            if entry is not None and entry.problem:
                problem = entry.problem.removeprefix("damaged: ").rstrip(".")
                self.notify(
                    f"{name} was downloaded, but cannot be loaded: {problem}.", severity="warning", markup=False
                )
            else:
                self.notify(f"{name} is here" + "; enter on it loads it." * (entry is not None), markup=False)
        self.came.difference_update(names)

    def take_quant(self) -> None:
        """Download the quant under the cursor, or load it where it is here."""
        details = self.query_one(Details)
        choice, verdict = details.choice, details.verdict
        if choice is None:
            return
        if choice.here:
            self.bench.load(choice.quant.name, details.wish)
            return
        doubt = ""
        if not choice.runs:
            doubt = f"No engine here runs {choice.quant.format} models."
        elif verdict is not None and verdict.fit.verdict is Verdict.DOES_NOT_FIT:
            needed, free = verdict.fit.parts.needed, verdict.fit.free
            doubt = f"It does not fit: it needs {format_size(needed)} and {format_size(free)} are free now."
        enqueue = partial(self._enqueue, choice.quant, gated=details.leaf.gated)
        if not doubt:
            enqueue()
            return
        question = f"{doubt} Download {choice.quant.name} ({format_size(choice.quant.size)}) all the same?"
        self._ask("download", question, {"y": ("Download", enqueue)})

    @work(group="enqueue")
    async def _enqueue(self, quant: Quant, *, gated: bool) -> None:
        """`gated`: the owner wants to be asked. Whether that was done is told by a look into the file."""
        try:
            if gated:
                await asyncio.to_thread(self._look_into, quant)
            key = await asyncio.to_thread(self.store.downloads.enqueue, quant)
        except BenchtopError as error:
            self.complain(error)
            return
        # Known from now on, so that its end is noticed however soon it comes.
        self._states[key] = DownloadState.QUEUED
        self.watch_transfers()

    def _look_into(self, quant: Quant) -> None:
        """On a thread. Raises GatedRepository."""
        try:
            self.store.header(quant)
        except GatedRepository:
            raise
        except BenchtopError:
            # It may be had; whatever else is the matter, the download tells.
            return

    @work(group="downloads")
    async def _change(self, change: Callable[[], object]) -> None:
        """On a thread: downloads take a while to stop."""
        try:
            await asyncio.to_thread(change)
        except BenchtopError as error:
            self.complain(error)
        self.watch_transfers()

    def action_transfers(self) -> None:
        if not self.query_one(Transfers).toggle():
            self.query_one(ShelfTable).focus()

    @property
    def among_downloads(self) -> bool:
        """Whether the cursor is there, and not among the models. Asked before the screen has any widgets, too."""
        return isinstance(self.focused, DownloadLines)

    def _download(self) -> DownloadItem | None:
        """The selected one; where the list is out of sight it is brought there first, so that one sees which it is."""
        panel = self.query_one(Transfers)
        if not panel.listed and panel.display:
            panel.look()
            return None
        return panel.selected

    def action_pause(self) -> None:
        """Pause the selected download, or go on with it."""
        if (item := self._download()) is None:
            return
        downloads = self.store.downloads
        if item.state.active:
            self._change(lambda: downloads.pause(item.id))
        elif item.state in STOPPED:
            self._change(lambda: downloads.resume(item.id))

    def go_on(self, entry: LibraryEntry) -> bool:
        """Go on with the downloads of a model that is not here in full; whether there are any."""
        left = self._downloads_of(entry)
        for item in left:
            if not item.state.active:
                self._change(partial(self.store.downloads.resume, item.id))
        return bool(left)

    def _downloads_of(self, entry: LibraryEntry) -> list[DownloadItem]:
        """Those of its repository that are not done."""
        repo = find_repo(entry)
        mine = [item for item in self.query_one(Transfers).items if repo == item.name.partition(":")[0]]
        return [item for item in mine if item.state is not DownloadState.DONE]

    def action_cancel(self) -> None:
        if (item := self._download()) is None:
            return
        if item.state.over and _nothing_left(item):
            self._change(lambda: self._dismiss((item,)))
            return
        self._ask_to_cancel(item)

    def _ask_to_cancel(self, item: DownloadItem) -> None:
        downloads = self.store.downloads
        self._ask(
            "cancel the download",
            f"{item.name}: {format_size(item.done)} of {format_size(item.total)} are here. "
            "What is kept need not be fetched again.",
            {
                "k": ("Keep", lambda: self._change(lambda: downloads.cancel(item.id))),
                "d": ("Discard", lambda: self._change(lambda: downloads.cancel(item.id, discard=True))),
            },
        )

    def action_clear(self) -> None:
        """List no longer what is done, has failed, or was cancelled."""
        over = [item for item in self.query_one(Transfers).items if item.state.over]
        over = [item for item in over if _nothing_left(item) or item.state is DownloadState.FAILED]
        if over:
            self._change(lambda: self._dismiss(over))
        else:
            self.notify("No download is done or has failed.")

    def _dismiss(self, items: Sequence[DownloadItem]) -> None:
        """On a thread. Of what is here in part the core is to know: enter on that model goes on with it."""
        for item in items:
            if _nothing_left(item):
                self.store.downloads.forget(item.id)
            else:
                self.store.downloads.cancel(item.id)

    def action_resume(self) -> None:
        """Go on with everything that was interrupted, paused, or has failed."""
        stopped = [item.id for item in self.query_one(Transfers).items if item.state in STOPPED]
        if not stopped:
            self.notify("No download is paused.")
            return
        downloads = self.store.downloads

        def resume() -> None:
            pending = downloads.resume_pending()
            refused = [*pending.refused.values()]
            for key in stopped:
                if key in pending.started or key in pending.refused:
                    continue
                try:
                    downloads.resume(key)
                except BenchtopError as error:
                    refused.append(error)
            if refused:
                raise BenchtopError(" ".join(dict.fromkeys(map(str, refused))))

        self._change(resume)

    # Files.

    def action_delete(self) -> None:
        item = self.query_one(ShelfTable).row
        if item is None or item.entry is None:
            self.notify("The selected model is not on this machine.", severity="warning")
            return
        entry = item.entry
        going = [each for each in self._downloads_of(entry) if each.state.active] if entry.problem else []
        if item.where is Where.SETTINGS:
            told = f"{item.name} is a name of the settings; take [models.{item.name}] out there."
            self.notify(told, severity="warning", markup=False)
        elif going:
            self._ask_to_cancel(going[0])
        elif entry.location is Location.SERVER:
            self.notify(
                f"{item.name} is on a server; there is nothing to delete here.", severity="warning", markup=False
            )
        elif item.model is not None or entry.loaded:
            self.notify(f"{item.name} is loaded; u unloads it first.", severity="warning", markup=False)
        elif entry.location is Location.BUILT_IN:
            self.notify(f"{item.name} belongs to the program, so it is not deleted.", severity="warning", markup=False)
        else:
            files = len(entry.files) or 1
            question = (
                f"Delete {item.name} ({format_size(entry.size)} in {fmt.format_plural(files, 'file')}) at {entry.path}?"
            )
            self._ask("delete", question, {"y": ("Delete", lambda: self._delete(entry))})

    @work(group="delete")
    async def _delete(self, entry: LibraryEntry) -> None:
        try:
            freed = await asyncio.to_thread(self.store.delete, entry)
        except BenchtopError as error:
            self.complain(error)
        else:
            self.notify(f"Deleted {entry.name}; {format_size(freed)} became free.", markup=False)
        self.rescan()

    def _ask(self, title: str, question: str, answers: dict[str, tuple[str, Callable[[], object]]]) -> None:
        self.app.push_screen(Confirm(title, question, answers))

    # The slider.

    def action_context(self, by: int) -> None:
        self.query_one(Details).turn(lambda dial: dial.moved(by))

    def action_context_edge(self, by: int) -> None:
        self.query_one(Details).turn(lambda dial: replace(dial, at=0 if by < 0 else len(dial.steps) - 1))

    def action_kv(self) -> None:
        self.query_one(Details).turn(lambda dial: dial.cycled())

    def action_machine(self) -> None:
        details = self.query_one(Details)
        if details.machine:
            details.imagine(())
            return
        from tui.dialogs.ask import Ask

        place = "rtx 3060 12GB, 32GB (cards, main memory)"
        self.app.push_screen(Ask("What fits another machine", self.last_machine, self._imagine, placeholder=place))

    def _imagine(self, answer: str) -> str | None:
        try:
            machine = read_machine(answer, describe_host())
        except BenchtopError as error:
            return str(error)
        self.last_machine = answer
        self.query_one(Details).imagine(machine)
        return None


def _nothing_left(item: DownloadItem) -> bool:
    """There is nothing that one could go on from."""
    return item.state is DownloadState.DONE or item.done == 0
