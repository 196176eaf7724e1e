"""The models of one workbench: loaded on demand, held while in use, evicted for others within a limit of memory.

Everything here runs on the event loop, save the body of a load. One model loads at a time, so that what it takes can
be measured. What was decided before an `await` is decided anew after it: meanwhile a model may have been asked for,
pinned, or unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack

from msgspec.structs import replace

from core.contract.artifact import URL, Artifact
from core.errors import BenchtopError, Cancelled, LoadFailed, ModelNotFound, ModelNotReady
from core.hardware import give_back_memory
from core.lanes import Lane
from core.serving.host import Host, Loaded, Loader
from core.serving.pool.eviction import NoRoom, Occupant, coldest, expired, make_room
from core.serving.pool.member import Lease, Member, why_no_room
from core.settings.profile import Profile
from core.snapshots import Absent, CacheStats, LoadFailure, ModelSnapshot, PoolSnapshot, QueueStats
from core.telemetry.log import get_logger

SWEEP = 2.0
"""Seconds between two looks at idle models and at what the process takes."""
LOOKS = 3
"""Times that models which are ending are waited for, before a load is measured all the same."""
GLANCE = 0.1
"""Seconds between two looks at models that are waited for."""
MOST_FAILURES = 32
"""Models of which it is remembered why they could not be loaded."""
PATIENCE = 30.0
"""Seconds to wait for a model's thread to end."""
log = get_logger(__name__)

Tell = Callable[[str], None]


class Pool:
    """Made on an event loop. `make` builds a host around a loader, `load` loads a member on the calling thread."""

    def __init__(
        self,
        make: Callable[[Member, Loader], Host],
        load: Callable[[Member, threading.Event, Tell], Loaded],
        *,
        limit: int,
        ttl: float,
        expected: Callable[[Member], int],
        resident: Callable[[], int],
        max_queue: int = 0,
        lane: Lane | None = None,
    ) -> None:
        """`limit`: bytes for all models; `ttl`: idle seconds before a model without one of its own is unloaded, zero
        for never; `expected`: bytes a model is likely to take, asked on a thread; `resident`: bytes this process takes
        now; `max_queue`: requests that may wait for a model that is leaving, zero for any number;
        `lane`: where the expected bytes are asked for and memory is given back."""
        self._lane = lane or Lane("loading models", 2, None)
        self._make = make
        self._load_model = load
        self._ttl = ttl
        self._expected = expected
        self._resident = resident
        self._max_queue = max_queue
        self._baseline = resident()
        self.limit = limit
        self._members: dict[str, Member] = {}
        self._failures: dict[str, tuple[str, float]] = {}
        """Why a model could not be loaded, and when; until it can."""
        self._turn = asyncio.Lock()
        self._holder: Member | None = None
        self._freed = asyncio.Event()
        self._freed_bytes = 0
        """By all models that ever ended; with what the process takes, what loads have added."""
        self._weight = 0
        self._event_loop = asyncio.get_running_loop()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False
        self.evictions = 0
        self._past_queue = QueueStats()
        self._past_cache = CacheStats()

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members.values()))

    def find(self, name: str) -> Member | None:
        return self._members.get(name)

    def add(self, artifact: Artifact, profile: Profile, *, kept: bool = False, writes: bool = True) -> Member:
        """Know a model, under its artifact's name; one that is known already stays as it is. `kept` for one that the
        user named: it stays known after it is unloaded, and is one that `auto` may stand for."""
        member = self._members.get(artifact.name)
        if member is None:
            member = self._members[artifact.name] = Member(artifact, profile, kept=kept, writes=writes)
        member.kept = member.kept or kept
        member.named = member.named or kept
        return member

    @property
    def hosts(self) -> list[Host]:
        """Of the models that are loaded, loading or failed, in the order in which they became known."""
        return [member.host for member in self._members.values() if member.host is not None]

    async def lease(self, member: Member) -> Lease:
        """Load the model where it is not, and hold it.

        Raises QueueFull at once when too many wait for it already, and what kept it from loading.
        """
        await self._let_in(member)
        member.leases += 1
        place = ExitStack()
        try:
            host = self._host(member)
            place.enter_context(host.arrival())
            await self._loaded(member, host)
        except BaseException as error:
            place.close()
            self._release(member)
            if isinstance(error, BenchtopError):
                self._forget_failed(member)
            if isinstance(error, Cancelled):
                # It was not the client that cancelled.
                raise ModelNotReady(member.name, f"The model {member.name} was unloaded; ask again later.") from error
            raise
        return Lease(member, host, place, lambda: self._release(member))

    async def load(self, member: Member) -> None:
        """Returns when the model is loaded. Raises what kept it from that."""
        await self._let_in(member)
        member.leases += 1
        try:
            await self._loaded(member, self._host(member))
        except BenchtopError:
            self._forget_failed(member)
            raise
        finally:
            self._release(member)

    async def unload(self, member: Member) -> None:
        """Free the model now; its requests fail. Afterwards it is forgotten, unless the user named it."""
        member.kept = member.named
        if member.host is not None:
            # One that does not end counts as taking its memory until it does, whoever has lost patience.
            await asyncio.wait({self._begin_stop(member)}, timeout=PATIENCE)
        self._forget(member)

    def pin(self, member: Member, on: bool) -> None:
        """A pinned model is never evicted, for others or for being idle."""
        member.pinned = on
        self._freed.set()

    async def close(self) -> None:
        """Unload everything, for good."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if ending := {self._begin_stop(member) for member in self if member.host is not None}:
            await asyncio.wait(ending, timeout=PATIENCE)
        self._members.clear()

    def share(self, member: Member) -> int:
        """Bytes that a model may take at most: all but what pinned ones have."""
        return max(0, self.limit - sum(each.size for each in self.occupants(but=member) if each.pinned))

    def occupants(self, *, but: Member | None = None) -> list[Occupant]:
        """The models that take memory, as the decisions see them. One that is ending can be sent away no more."""
        return [
            Occupant(
                member.name,
                member.size,
                member.used,
                busy=member.busy,
                pinned=member.pinned or member.stopping is not None,
                ttl=self._ttl if member.profile.ttl is None else member.profile.ttl,
            )
            for member in self
            if member.occupies and member is not but
        ]

    def snapshot(self) -> PoolSnapshot:
        return PoolSnapshot(
            limit=self.limit,
            used=sum(each.size for each in self.occupants()),
            evictions=self.evictions,
            absent=tuple(
                Absent(
                    member.name,
                    member.artifact.format,
                    member.artifact.size,
                    member.pinned,
                    self._problem(member),
                )
                for member in self
                if member.host is None
            ),
            failures=tuple(
                LoadFailure(name, reason, time.monotonic() - when) for name, (reason, when) in self._failures.items()
            ),
            past_queue=self._past_queue,
            past_cache=self._past_cache,
        )

    def models(self) -> tuple[ModelSnapshot, ...]:
        """Those that are loaded, loading or failed."""
        now = time.monotonic()
        return tuple(
            replace(
                member.host.snapshot(),
                resident=member.size if member.measured else 0,
                pinned=member.pinned,
                in_use=member.leases,
                idle=now - member.used,
            )
            for member in self
            if member.host is not None
        )

    def _problem(self, member: Member) -> str:
        if member.name in self._failures:
            return self._failures[member.name][0]
        return "" if member.is_there() else f"The file of {member.name} is gone: {member.artifact.path}."

    # Loading.

    async def _loaded(self, member: Member, host: Host) -> None:
        """Returns when it is loaded. Raises what keeps it from that."""
        await host.ready()
        self._failures.pop(member.name, None)

    async def _let_in(self, member: Member) -> None:
        """Wait while the model is leaving. One that broke down goes first, so that it is loaded anew."""
        while member.leaving or member.broken:
            if member.broken:
                self._begin_stop(member)
            await member.opened(self._max_queue)

    def _host(self, member: Member) -> Host:
        if self._closed or self._members.get(member.name) is not member:
            raise ModelNotFound(member.name, f"The model {member.name} was unloaded; ask again to have it loaded.")
        if not member.loaded:
            member.seated = False
            member.host = self._make(member, _Loading(self, member))
            member.host.start()
            self._sweeper = self._sweeper or asyncio.create_task(self._sweep())
        assert member.host is not None
        return member.host

    def load_first(self, member: Member, stop: threading.Event, tell: Tell) -> Loaded:
        """On the model's thread: wait for the turn and for room, load, measure, make the room that it lacks still."""
        tell("waiting for its turn")
        try:
            self._await(member, self._take_turn(member, stop, tell), stop)
            return self._measured(member, stop, tell)
        finally:
            # It may have been given the turn in the very moment in which it was cancelled.
            self._event_loop.call_soon_threadsafe(self._pass_turn, member)

    def _await(self, member: Member, work: Coroutine[object, object, None], stop: threading.Event) -> None:
        """On the model's thread: have the event loop do something; unloading the model ends the wait with Cancelled."""
        turn = member.turn = asyncio.run_coroutine_threadsafe(work, self._event_loop)
        if stop.is_set():
            # Whoever set it may have looked for the turn before it was there.
            turn.cancel()
        try:
            turn.result()
        except CancelledError as error:
            raise Cancelled(f"Loading {member.name} was cancelled.") from error
        finally:
            member.turn = None
        if stop.is_set():
            raise Cancelled(f"Loading {member.name} was cancelled.")

    def load_again(self, member: Member, stop: threading.Event, tell: Tell) -> Loaded:
        """On the model's thread, after its engine failed: the room it had is its own still."""
        return self._load_model(member, stop, tell)

    def _measured(self, member: Member, stop: threading.Event, tell: Tell) -> Loaded:
        before = self._weight
        loaded = self._load_model(member, stop, tell)
        try:
            self._await(member, self._weigh(member), stop)
        except BaseException:
            loaded.shutdown()
            raise
        grown = self._weight - before
        # Weights that are mapped from their file become resident page by page, and some caches grow into what was
        # promised to them; they count in full from the start.
        member.size = max(grown, loaded.promised)
        member.measured = True
        try:
            # It may have taken more than was expected.
            self._await(member, self._make_room(member, tell), stop)
        except BaseException:
            loaded.shutdown()
            raise
        return loaded

    async def _take_turn(self, member: Member, stop: threading.Event, tell: Tell) -> None:
        await self._turn.acquire()
        if stop.is_set():
            # Its thread may have given up already, and then nobody would pass the turn on.
            self._turn.release()
            raise Cancelled(f"Loading {member.name} was cancelled.")
        self._holder = member
        member.seated = True
        try:
            await self._make_room(member, tell)
            await self._weigh(member)
        except BaseException:
            self._pass_turn(member)
            raise

    async def _weigh(self, member: Member) -> None:
        """Add what the process takes and what was freed, in a moment in which no model is on its way out: the memory
        of one that is may be gone already, and nobody can tell."""
        for _ in range(LOOKS):
            if not any(each.stopping is not None and each is not member for each in self):
                break
            await self._others_ended(member)
        self._weight = self._resident() + self._freed_bytes

    def _pass_turn(self, member: Member) -> None:
        if self._holder is member:
            self._holder = None
            self._turn.release()

    # Making room.

    async def _make_room(self, member: Member, tell: Tell) -> None:
        if member.artifact.format == URL:
            return
        if not member.measured:
            member.size = await self._lane.run(self._expected, member)
        while True:
            await self._others_ended(member)
            room = make_room(self.occupants(but=member), member.size, self.limit)
            if isinstance(room, NoRoom):
                pinned = [each.name for each in self.occupants(but=member) if each.pinned]
                problem = why_no_room(member, room, self.limit, pinned)
                # What it was measured to take may have been somebody else's; the next try is not to be barred by it.
                member.measured = False
                raise LoadFailed(member.name, problem)
            if room.evict:
                await self._evict(self._members.get(room.evict[0]))
            elif room.drain:
                tell(f"waiting for {', '.join(room.drain)} to finish what it is doing")
                await self._drain([each for each in self if each.name in room.drain])
            else:
                return

    async def _others_ended(self, member: Member) -> None:
        """Wait for those that are ending."""
        if ending := {each.stopping for each in self if each.stopping is not None and each is not member}:
            await asyncio.wait(ending, timeout=PATIENCE)

    async def _drain(self, members: Sequence[Member]) -> None:
        """Let them finish their requests, and then go; new requests for them wait until they can be loaded again."""
        hosts = [member.host for member in members]
        with ExitStack() as doors:
            for member in members:
                doors.enter_context(member.closed())
            for member, host in zip(members, hosts, strict=True):
                while member.host is host and member.stopping is None and member.busy:
                    await self._change()
                    if any(each.pinned for each in members):
                        return
                await self._evict(member)

    async def _change(self) -> None:
        """Returns when a request has ended, a model was pinned or is gone, and soon at the latest: that a model is
        loaded is told to nobody here."""
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GLANCE):
                await self._freed.wait()

    async def _evict(self, member: Member | None) -> None:
        """Unload for others, or for being idle, if it may still go; the next request loads it again."""
        if member is None or member.busy or member.pinned or not member.loaded:
            return
        log.info("model evicted", model=member.name, bytes=member.size)
        self.evictions += 1
        member.kept = True
        # Whoever wanted the room may give up; the model ends all the same. One that does not end is found immovable.
        await asyncio.wait({self._begin_stop(member)}, timeout=PATIENCE)

    # Ending.

    def _begin_stop(self, member: Member) -> asyncio.Task[None]:
        """Its requests fail, and new ones wait until its thread has ended and freed the model."""
        if member.stopping is None:
            assert member.host is not None
            member.close_door()
            member.host.begin_stop()
            if member.turn is not None:
                member.turn.cancel()
            held = member.size if member.occupies else 0
            member.stopping = asyncio.create_task(self._stop(member, member.host, held))
        return member.stopping

    async def _stop(self, member: Member, host: Host, held: int) -> None:
        """`held` is what it took when it was told to end; one that broke down freed its memory long ago."""
        try:
            await host.ended()
            await self._lane.run(give_back_memory)
        finally:
            self._freed_bytes += held
            self._remember(host)
            member.host, member.seated, member.stopping = None, False, None
            member.open_door()
            self._freed.set()
            self._forget(member)

    def _release(self, member: Member) -> None:
        member.leases -= 1
        member.used = time.monotonic()
        self._freed.set()
        self._forget(member)

    def _forget(self, member: Member) -> None:
        """Know it no more, where it is not to be kept and nobody has anything to do with it."""
        engaged = member.kept or member.host is not None or member.leases > 0 or member.awaited
        if not engaged and self._members.get(member.name) is member:
            del self._members[member.name]

    def _forget_failed(self, member: Member) -> None:
        """A model that could not be loaded takes nothing, and is tried anew when it is asked for again."""
        if member.host is not None and member.host.never_loaded and member.stopping is None:
            if not isinstance(member.host.failure, Cancelled):
                self._remember_failure(member, str(member.host.failure))
            self._remember(member.host)
            member.host = None
            self._forget(member)

    def _remember_failure(self, member: Member, reason: str) -> None:
        self._failures.pop(member.name, None)
        self._failures[member.name] = reason, time.monotonic()
        while len(self._failures) > MOST_FAILURES:
            del self._failures[next(iter(self._failures))]

    def _remember(self, host: Host) -> None:
        """The totals of a model that goes: whoever adds them up over time must not see them go back."""
        told = host.snapshot()
        self._past_queue = told.queue.after(self._past_queue)
        self._past_cache = told.cache.after(self._past_cache)

    # Idle models.

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self._tidy()
            except Exception:
                # The edge of the loop: idle models must go on being looked at.
                log.exception("looking for idle models failed")

    async def _tidy(self) -> None:
        for member in self:
            if member.leases == 0:
                self._forget_failed(member)
        for name in expired(self.occupants(), time.monotonic()):
            await self._evict(self._members.get(name))
        await self._shrink()

    async def _shrink(self) -> None:
        """Evict when the process has grown over the limit since the models were loaded; caches grow with use. Not
        while one loads, which takes more for a moment than it will keep."""
        while not self._turn.locked() and self._resident() - self._baseline > self.limit:
            there = self.occupants()
            if len(there) < 2 or (name := coldest(there)) is None:
                return
            await self._evict(self._members.get(name))


class _Loading:
    """A host's loader: the first time in turn and with room made, afterwards in the room that it has."""

    def __init__(self, pool: Pool, member: Member) -> None:
        self._pool = pool
        self._member = member
        self._loaded = False

    def __call__(self, stop: threading.Event, tell: Tell) -> Loaded:
        load = self._pool.load_again if self._loaded else self._pool.load_first
        loaded = load(self._member, stop, tell)
        self._loaded = True
        return loaded
