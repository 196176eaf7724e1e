"""What was computed and may come back: states of prefixes in memory and on disk, for all models of this process.

The serving loops ask and put; one thread of the store's own reads and writes files. A state in memory is written to
disk a little later, since the next turn of a conversation often supersedes it before that.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from core.cache.container import PrefixHeader
from core.cache.disk import DiskTier
from core.cache.identity import ModelIdentity
from core.cache.prefix import Tokens
from core.cache.prefix_index import PrefixIndex, StoredMatch, StoredPrefix
from core.cache.recall import Outline, Recall
from core.reuse import Tier, TierStats
from core.telemetry.log import get_logger

SETTLE_SECONDS = 5.0
"""A state that is superseded sooner is never written."""
FETCHED_SECONDS = 60.0
"""How long a state that was read from disk for a request waits for it, whatever the bound of the memory."""
OVERDRAFT_FACTOR = 1.25
"""Times the bound of the memory that states may take while they wait to be written."""
log = get_logger(__name__)


class PrefixStore:
    """Safe to share between threads. Its own thread starts with the first file that is read or written."""

    def __init__(
        self, memory_limit: int, disk: DiskTier | None = None, *, min_tokens: int = 128, settle: float = SETTLE_SECONDS
    ) -> None:
        """`memory_limit`: bytes of the states in memory; `min_tokens`: shorter prefixes are not written to disk;
        `settle`: seconds before a state is written."""
        self._memory_limit = memory_limit
        self._disk = disk
        self._min_tokens = min_tokens
        self._settle = settle
        self._changed = threading.Condition()
        self._disk_lock = threading.Lock()
        self._index = PrefixIndex()
        self._loaded: set[str] = set()
        self._held: OrderedDict[StoredPrefix, None] = OrderedDict()
        """Those with a state in memory, the one used longest ago first."""
        self._on_disk: dict[Path, StoredPrefix] = {}
        self._used = 0
        self._due: OrderedDict[StoredPrefix, float] = OrderedDict()
        """When each is to be written; kept in memory until then."""
        self._wanted: deque[StoredPrefix] = deque()
        self._ready: dict[StoredPrefix, list[Callable[[], None]]] = {}
        self._unneeded: deque[Path] = deque()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._recalls: dict[str, Recall] = {}
        self._evictions = {Tier.MEMORY: 0, Tier.DISK: 0}

    # From any thread.

    def locked(self) -> AbstractContextManager[object]:
        """Nobody else reads or changes what is known meanwhile."""
        return self._changed

    @property
    def keeps(self) -> bool:
        """Whether anything that is put may stay."""
        return self._memory_limit > 0 or self._disk is not None

    @property
    def memory_used(self) -> int:
        """Bytes of the states in memory."""
        return self._used

    def stats(self) -> tuple[TierStats, TierStats]:
        """Of the memory and of the disk."""
        with self._changed:
            memory = TierStats(len(self._held), self._used, self._memory_limit, self._evictions[Tier.MEMORY])
            if self._disk is None:
                return memory, TierStats()
            disk = self._disk
            evicted = self._evictions[Tier.DISK]
            return memory, TierStats(len(self._on_disk), disk.used, disk.limit, evicted, disk.problem)

    def load(self, identity: ModelIdentity) -> Recall:
        """Know what is stored of a model; returns which conversations it has seen, to be used while `locked`. Reads
        files: call it where that may take a moment."""
        with self._changed:
            known = identity.digest in self._loaded
            self._loaded.add(identity.digest)
            recall = self._recalls.setdefault(identity.weights, Recall())
        if self._disk is not None and not known:
            self._load(identity, recall)
        return recall

    def match(self, identity: ModelIdentity, owner: str, tokens: Tokens) -> StoredMatch | None:
        """The stored prefix that shares most with `tokens`, which becomes the one used last. One that cannot be cut
        counts only where `tokens` begin with all of it."""
        with self._changed:
            match = self._index.match(identity, owner, tokens)
            if match is not None and match.entry in self._held:
                self._held.move_to_end(match.entry)
            return match

    def put(self, header: PrefixHeader, tokens: Tokens, state: bytes) -> None:
        """Store a state, unless what it says is stored already. It supersedes prefixes of its own."""
        with self._changed:
            made = StoredPrefix(header, tokens, len(state))
            superseded = self._index.enter(made)
            if superseded is None:
                return
            for old in superseded:
                self._supersede(old, made)
            self._hold(made, state)
            if self._writes(made):
                self._due[made] = time.monotonic() + self._settle
            self._evict()
            self._wake()

    def fetch(self, entry: StoredPrefix, ready: Callable[[], None]) -> None:
        """Read the state of a prefix into memory. `ready` is called, from any thread, when it is there, or when it
        turned out not to be and the prefix is forgotten."""
        with self._changed:
            if entry.state is None and entry.path is not None:
                if entry not in self._ready:
                    self._wanted.append(entry)
                self._ready.setdefault(entry, []).append(ready)
                self._wake()
                return
        ready()

    def take(self, entry: StoredPrefix) -> bytes | None:
        """The state, where it is in memory."""
        with self._changed:
            entry.fetched = None
            state = entry.state
            self._evict()
            return state

    def discard(self, entry: StoredPrefix, why: str) -> None:
        """Forget a prefix that the engine does not take back, and say so."""
        log.warning("a stored prefix cannot be used, and is computed again", model=entry.header.model, why=why)
        with self._changed:
            self._drop(entry, why)
            self._wake()

    def hurry(self) -> None:
        """Write what is to be written at once."""
        with self._changed:
            for entry in self._due:
                self._due[entry] = 0.0
            self._wake()

    def wait_written(self, timeout: float) -> bool:
        """Whether all that was to be written by now is written, within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._due or self._unneeded or self._busy), timeout)

    def close(self, timeout: float) -> None:
        """Write what is still to be written, for `timeout` seconds at most, and end the thread."""
        self.hurry()
        if not self.wait_written(timeout):
            log.warning("not all prefixes could be stored in time", left=len(self._due), seconds=timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # With the lock held.

    def _writes(self, entry: StoredPrefix) -> bool:
        disk = self._disk
        return disk is not None and disk.writable and len(entry.tokens) >= self._min_tokens

    def _hold(self, entry: StoredPrefix, state: bytes) -> None:
        entry.state = state
        self._held[entry] = None
        self._used += entry.size

    def _release(self, entry: StoredPrefix) -> None:
        """Let go of the state in memory."""
        if entry in self._held:
            del self._held[entry]
            self._used -= entry.size
            entry.state = None
            entry.fetched = None

    def _leave(self, old: StoredPrefix) -> None:
        """Forget a file of which nothing is found any more, since others say the same."""
        if not old.cuts and old.path is not None:
            self._on_disk.pop(old.path, None)
            self._unneeded.append(old.path)
            old.path = None

    def _supersede(self, old: StoredPrefix, by: StoredPrefix) -> None:
        paths = [*old.replaces, *([old.path] if old.path is not None else [])]
        # Deleted when the longer one is on disk: until then they are what a crash leaves.
        by.replaces += paths if self._writes(by) else []
        old.path, old.replaces = None, []
        for path in paths:
            self._on_disk.pop(path, None)
        self._forget(old)

    def _forget(self, entry: StoredPrefix) -> None:
        """Out of the index and the memory; what is on disk stays there."""
        self._index.forget(entry)
        self._due.pop(entry, None)
        self._release(entry)

    def _leave_file(self, entry: StoredPrefix) -> None:
        if entry.path is not None:
            self._on_disk.pop(entry.path, None)
            entry.path = None

    def _drop(self, entry: StoredPrefix, why: str) -> None:
        """The prefix is gone from all tiers. What it would have replaced on disk stays there for the next start."""
        self._forget(entry)
        if entry.path is not None:
            self._on_disk.pop(entry.path, None)
            self._unneeded.append(entry.path)
            entry.path = None
        recall = self._recalls.get(entry.header.identity.weights)
        if recall is not None:
            recall.note_gone((entry.header.identity, entry.header.owner), entry.tokens, why)

    def _evict(self) -> None:
        """Let go of states until the rest is within the bound; what is to be written is written first, and let go
        unwritten only where the disk is too slow for what comes."""
        now = time.monotonic()
        if self._used <= self._memory_limit:
            return
        for entry in list(self._held):
            if self._used <= self._memory_limit:
                return
            if entry.fetched is not None and now - entry.fetched < FETCHED_SECONDS:
                continue
            # The size of this one is added for a bound that is smaller than any state.
            if entry in self._due and self._used <= self._memory_limit * OVERDRAFT_FACTOR + entry.size:
                self._due[entry] = 0.0
                continue
            self._evictions[Tier.MEMORY] += 1
            if entry.path is None:
                self._drop(entry, "--cache-size")
            else:
                self._release(entry)

    def _wake(self) -> None:
        if self._thread is None and not self._closed and (self._due or self._wanted or self._unneeded):
            self._thread = threading.Thread(target=self._work, name="prefix store", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    # On the store's own thread, save `_load`.

    def _load(self, identity: ModelIdentity, recall: Recall) -> None:
        assert self._disk is not None
        with self._disk_lock:
            files = self._disk.load(identity.digest)
        foreign: list[Path] = []
        with self._changed:
            for path, file in files:
                if path in self._on_disk:
                    continue
                if file.header.identity != identity:
                    foreign.append(path)
                    continue
                made = StoredPrefix(file.header, file.tokens, file.state_bytes)
                superseded = self._index.enter(made)
                if superseded is not None:
                    for old in superseded:
                        self._leave(old)
                    made.path = path
                    self._on_disk[path] = made
                    outline = _outline(file.header)
                    recall.remember((identity, file.header.owner), file.tokens, len(file.tokens), outline)
                else:
                    self._unneeded.append(path)
            self._wake()
        with self._disk_lock:
            for path in foreign:
                self._disk.discard(path, "it is of another model, engine or setting")

    def _work(self) -> None:
        while True:
            with self._changed:
                job = self._next_job()
                self._busy = job is not None
                if job is None:
                    return
            try:
                job()
            except Exception as error:
                # The edge of the thread. What failed would fail again, so nothing is written any more.
                log.exception("storing prefixes failed")
                self._give_up(error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _give_up(self, error: Exception) -> None:
        """Write nothing any more, and have computed what is waited for."""
        assert self._disk is not None
        with self._changed:
            self._disk.give_up(f"a fault of the workbench, {error!r}")
            self._wanted.clear()
            told = [ready for waiting in self._ready.values() for ready in waiting]
            for entry in self._ready:
                self._drop(entry, "a fault of the workbench")
            self._ready.clear()
            self._due.clear()
            self._unneeded.clear()
        for ready in told:
            ready()

    def _next_job(self) -> Callable[[], None] | None:
        """What is to be done now, waited for; None once the store is closed. Reading comes first: a request waits."""
        while True:
            if self._wanted:
                entry = self._wanted.popleft()
                return lambda: self._read(entry)
            if self._closed:
                return None
            if self._unneeded:
                path = self._unneeded.popleft()
                return lambda: self._remove(path)
            now = time.monotonic()
            due = next((entry for entry, when in self._due.items() if when <= now), None)
            if due is not None:
                return lambda: self._write(due)
            soonest = min(self._due.values(), default=None)
            self._changed.wait(None if soonest is None else max(0.0, soonest - now))

    def _read(self, entry: StoredPrefix) -> None:
        assert self._disk is not None
        path = entry.path
        with self._disk_lock:
            state = None if path is None else self._disk.read(path, entry.header, entry.tokens)
        with self._changed:
            if state is None:
                # What is damaged is deleted already; what could not be read this time may be at the next start.
                self._leave_file(entry)
                self._drop(entry, "a file that was lost or damaged")
            elif entry.state is None:
                self._hold(entry, state)
                entry.fetched = time.monotonic()
                self._evict()
            told = self._ready.pop(entry, [])
        for ready in told:
            ready()

    def _write(self, entry: StoredPrefix) -> None:
        assert self._disk is not None
        with self._changed:
            state = entry.state
            resumes = bool(self._disk.problem)
        written = None
        if state is not None:
            with self._disk_lock:
                written = self._disk.write(entry.header, entry.tokens, state)
        with self._changed:
            alive = self._due.pop(entry, None) is not None
            if written is not None:
                path, gone = written
                self._unneeded += [each for each in entry.replaces if each != path]
                entry.replaces = []
                for each in self._on_disk.keys() & gone:
                    self._lost(each)
                if alive:
                    entry.path = path
                    self._on_disk[path] = entry
                else:
                    # Superseded while it was being written.
                    self._unneeded.append(path)
                if resumes:
                    self._catch_up()
            self._evict()

    def _catch_up(self) -> None:
        """Have what is in memory alone written, now that it can be."""
        for entry in self._held:
            if entry.path is None and self._writes(entry):
                self._due.setdefault(entry, 0.0)

    def _lost(self, path: Path) -> None:
        """The file had to go for another, of this process or of one that shares the folder."""
        self._evictions[Tier.DISK] += 1
        entry = self._on_disk.pop(path, None)
        if entry is not None:
            entry.path = None
            if entry.state is None:
                self._drop(entry, "--disk-cache-size")

    def _remove(self, path: Path) -> None:
        assert self._disk is not None
        with self._disk_lock:
            self._disk.remove(path)


def _outline(header: PrefixHeader) -> Outline:
    try:
        return msgspec.json.decode(header.outline, type=Outline)
    except msgspec.MsgspecError:
        return Outline()
