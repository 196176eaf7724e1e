"""The list of downloads: the journal on the disk, the jobs of this process, and the lock that lets one write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from core.errors import DownloadNotFound, DownloadsBusy
from core.models.downloads.disk_space import count_missing_bytes
from core.models.downloads.folder_lock import FolderLock, is_downloading
from core.models.downloads.job import DownloadJob
from core.models.downloads.journal import NAME, DownloadJournal, Fetched, Forgotten, JournalEntry, Moved, Record, Stamp
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.endpoint import HubAccess, RepoCache, read_hub_access
from core.models.hub.repository import Quant
from core.telemetry.log import get_logger

log = get_logger(__name__)


class Known:
    """A download: the journal's entry, and the job while there is one."""

    def __init__(self, entry: JournalEntry) -> None:
        self.entry = entry
        self.job: DownloadJob | None = None
        self.told: tuple[DownloadState, float] = (entry.state, 0.0)

    @property
    def active(self) -> DownloadJob | None:
        return self.job if self.job is not None and not self.job.ended.is_set() else None

    @property
    def paused(self) -> bool:
        return self.active is None and self.entry.state is DownloadState.PAUSED

    @property
    def interrupted(self) -> bool:
        """The journal says that it is under way, and no job of this process is at it."""
        return self.active is None and self.entry.state.active


class DownloadRegistry:
    """Every method may be called from any thread.

    `RUNNING` in the journal means: the process that holds the folder fetches it. `QUEUED` means: a process fetched it
    that ended before the download did.
    """

    def __init__(self, folder: Path, access: HubAccess | None) -> None:
        """The journal lies in `folder`. Without `access` the environment tells the Hub and the cache."""
        self._folder = folder
        self._given_access = access
        self._known: dict[str, Known] = {}
        self._stamp: Stamp | None = None
        self._told: set[str] = set()
        """The reasons for which the journal cannot be read or written, as far as they were logged."""
        self._journal = DownloadJournal(folder / NAME)
        self._claim = FolderLock(folder)
        self.lock = threading.RLock()
        """Held while a decision depends on the list."""

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes from downloading and from changing the list. Raises DownloadsBusy where one does so."""
        self.claim()
        try:
            yield
        finally:
            self.give_up()

    def claim(self) -> None:
        """As `claimed`, until `give_up`. Claims nest: each needs its own `give_up`."""
        with self.lock:
            first = not self._claim.held
            if not self._claim.take():
                raise DownloadsBusy(self._busy())
            if first:
                self._compact()
                self._refresh()
                for known in self._known.values():
                    if known.entry.state is DownloadState.RUNNING:
                        self.move(known, DownloadState.QUEUED)

    def give_up(self) -> None:
        with self.lock:
            self._claim.give()

    @property
    def looked(self) -> tuple[Known, ...]:
        """The downloads as this process read them last; does not touch the disk."""
        with self.lock:
            return tuple(self._known.values())

    def all(self) -> tuple[Known, ...]:
        """In the order in which they were first asked for. Reads the journal where another process has written it."""
        with self.lock:
            if not self._claim.held:
                self._refresh()
            return tuple(self._known.values())

    def get(self, key: str) -> Known | None:
        with self.lock:
            self.all()
            return self._known.get(key)

    def find(self, key: str) -> Known:
        """Raises DownloadNotFound."""
        known = self.get(key)
        if known is None:
            raise DownloadNotFound(f"There is no download {key[:64]!r}; the list of downloads has their ids.")
        return known

    def is_elsewhere(self) -> bool:
        """Whether another process downloads."""
        with self.lock:
            return not self._claim.held and is_downloading(self._folder)

    def items(self) -> tuple[DownloadItem, ...]:
        with self.lock:
            known = self.all()
            elsewhere = any(each.interrupted for each in known) and self.is_elsewhere()
            return tuple(self.item(each, elsewhere=elsewhere) for each in known)

    def item(self, known: Known, *, elsewhere: bool | None = None) -> DownloadItem:
        """What front ends show. `elsewhere`: whether another process downloads, where the caller knows that already."""
        entry, job = known.entry, known.active
        item = DownloadItem(entry.id, entry.quant.name, entry.state, entry.quant.size, 0, error=entry.error)
        if job is not None:
            return replace(
                item, state=job.state, done=job.done, rate=job.rate, note=job.note, again=job.again, error=None
            )
        item = replace(item, done=item.total if entry.state is DownloadState.DONE else self.held(entry.quant))
        if not entry.state.active:
            return item
        elsewhere = self.is_elsewhere() if elsewhere is None else elsewhere
        if elsewhere and entry.state is DownloadState.RUNNING:
            return replace(item, note="Another benchtop is downloading it.")
        return replace(item, state=DownloadState.PAUSED)

    def held(self, quant: Quant) -> int:
        """Bytes of it on the disk."""
        return quant.size - count_missing_bytes(quant, self.cache(quant))

    def cache(self, quant: Quant) -> RepoCache:
        return RepoCache(self.access().cache, quant.repo, quant.revision)

    def access(self) -> HubAccess:
        if self._given_access is None:
            self._given_access = read_hub_access()
        return self._given_access

    # For the process that holds the folder.

    def add(self, known: Known, *records: Record) -> None:
        with self.lock:
            self.write(*records)
            self._known[known.entry.id] = known

    def write(self, *records: Record) -> None:
        """Append to the journal. A disk that refuses must not stop a download, whose files may be on another disk; then
        the next start does not know of the download, and that is logged once."""
        try:
            self._journal.append(*records)
        except OSError as error:
            self._tell_once("downloads are not remembered", error)

    def drop(self, known: Known) -> None:
        """Take a download off the list."""
        with self.lock:
            self.write(Forgotten(known.entry.id))
            self._known.pop(known.entry.id, None)

    def move(self, known: Known, state: DownloadState, error: str | None = None) -> None:
        """Change the state of a download, and note it in the journal."""
        with self.lock:
            known.entry = replace(known.entry, state=state, error=error)
            self.write(Moved(known.entry.id, state, error))

    def arrived(self, known: Known, path: str) -> None:
        """Note a fetched file in the journal."""
        with self.lock:
            known.entry = replace(known.entry, fetched=(*known.entry.fetched, path))
            self.write(Fetched(known.entry.id, path))

    def _refresh(self) -> None:
        """Read the journal where it has changed. Where it cannot be read, the list stays as it was."""
        try:
            # Taken before the journal is read: records that are written meanwhile are read the next time.
            stamp = self._journal.stamp()
            if stamp != self._stamp:
                self._known = {key: Known(entry) for key, entry in self._journal.entries().items()}
                self._stamp = stamp
        except OSError as error:
            self._tell_once("the list of downloads cannot be read", error)

    def _compact(self) -> None:
        try:
            self._journal.compact()
        except OSError as error:
            log.debug("the list of downloads stays as long as it is", why=str(error))

    def _tell_once(self, event: str, error: OSError) -> None:
        if (why := error.strerror or str(error)) not in self._told:
            self._told.add(why)
            log.warning(event, folder=str(self._folder), why=why)

    def _busy(self) -> str:
        names = [known.entry.quant.name for known in self.all() if known.entry.state is DownloadState.RUNNING]
        what = f" {names[0]}" if names else ""
        more = f" and {len(names) - 1} more" if names[1:] else ""
        return f"Another benchtop is downloading{what}{more}; wait until that is done, or pause it there."
