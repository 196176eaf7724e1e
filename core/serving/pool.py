"""The models of one workbench: loaded on demand, held while in use, evicted for others within a limit of memory.

Everything here runs on the event loop, save the body of a load. One model loads at a time, so that what it takes can
be measured.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack

from msgspec.structs import replace

from core.engines.base import Artifact, ArtifactFormat, ModelSpec
from core.errors import BenchtopError, Cancelled, LoadFailed, ModelNotFound
from core.feed import Absent, ModelSnapshot, ModelState, PoolSnapshot
from core.hardware import give_back_memory
from core.requests import Generation, Sampling
from core.serving.eviction import NoRoom, Occupant, coldest, expired, make_room
from core.serving.host import Host, Loaded, Loader, Request
from core.serving.profile import Profile
from core.serving.stream import Stream
from core.telemetry.log import get_logger

SWEEP = 2.0
"""Seconds between two looks at idle models and at what the process takes."""
log = get_logger(__name__)

Tell = Callable[[str], None]


class Member:
    """A model that is served under a name, loaded or not."""

    def __init__(self, artifact: Artifact, profile: Profile, *, kept: bool) -> None:
        self.name = artifact.name
        self.artifact = artifact
        self.profile = profile
        self.kept = kept
        """Stays known after it is unloaded, to be loaded again on demand."""
        self.pinned = profile.pin
        self.host: Host | None = None
        self.leases = 0
        self.used = time.monotonic()
        self.size = 0
        """Bytes it was measured to take when it was last loaded; before that, what it is expected to."""
        self.measured = False
        self.seated = False
        """It was given its turn to load, so that its bytes count; one that waits takes nothing."""
        self.leaving: asyncio.Event | None = None
        """Set, and then forgotten, when it is gone; new requests wait for that and have it loaded again."""
        self.turn: Future[None] | None = None
        """While it waits for its turn to load, or for room."""

    @property
    def loaded(self) -> bool:
        return self.host is not None and self.host.state is not ModelState.FAILED


class Lease:
    """Keeps a loaded model from being evicted, until `release` or until the stream it was given to has ended.

    One place in the model's queue belongs to it until it has been used.
    """

    def __init__(self, member: Member, host: Host, place: ExitStack, release: Callable[[], None]) -> None:
        self._member = member
        self._host = host
        self._place = place
        self._release = release
        self._held = True

    @property
    def spec(self) -> ModelSpec:
        return self._host.spec

    @property
    def sampling(self) -> Sampling:
        """What a request samples with where it says nothing."""
        return self._member.profile.sampling.over(self._host.spec.sampling)

    async def submit(self, request: Request) -> Stream:
        """As `Host.submit`, once; the lease ends with the stream, or now where that raises."""
        try:
            stream = await self._host.submit(request, arrived=True)
        except BaseException:
            self.release()
            raise
        self._place.close()
        stream.when_over(self.release)
        return stream

    async def count(self, request: Generation) -> int:
        """As `Host.count`."""
        return await self._host.count(request)

    def release(self) -> None:
        """Idempotent."""
        if self._held:
            self._held = False
            self._place.close()
            self._release()


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
    ) -> None:
        """`limit`: bytes for all models; `ttl`: idle seconds before a model without one of its own is unloaded, zero
        for never; `expected`: bytes a model is likely to take, asked on a thread; `resident`: bytes this process takes
        now."""
        self._make = make
        self._load_model = load
        self._ttl = ttl
        self._expected = expected
        self._resident = resident
        self._baseline = resident()
        self.limit = limit
        self._members: dict[str, Member] = {}
        self._turn = asyncio.Lock()
        self._holder: Member | None = None
        self._freed = asyncio.Event()
        self._event_loop = asyncio.get_running_loop()
        self._sweeper: asyncio.Task[None] | None = None
        self.evictions = 0

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members.values()))

    def find(self, name: str) -> Member | None:
        return self._members.get(name)

    def add(self, artifact: Artifact, profile: Profile, *, kept: bool = False) -> Member:
        """Know a model, under its artifact's name; one that is known already stays as it is."""
        member = self._members.get(artifact.name)
        if member is None:
            member = self._members[artifact.name] = Member(artifact, profile, kept=kept)
        member.kept = member.kept or kept
        return member

    @property
    def hosts(self) -> list[Host]:
        """Of the models that are loaded, loading or failed, in the order in which they became known."""
        return [member.host for member in self._members.values() if member.host is not None]

    async def lease(self, member: Member) -> Lease:
        """Load the model where it is not, and hold it.

        Raises QueueFull at once when too many wait for it already, and what kept it from loading.
        """
        while member.leaving is not None:
            await member.leaving.wait()
        member.leases += 1
        place = ExitStack()
        try:
            host = self._host(member)
            place.enter_context(host.arrival())
            await host.ready()
        except BaseException as error:
            place.close()
            self._release(member)
            if isinstance(error, BenchtopError):
                self._forget_failed(member)
            raise
        return Lease(member, host, place, lambda: self._release(member))

    async def load(self, member: Member) -> None:
        """Returns when the model is loaded. Raises what kept it from that."""
        while member.leaving is not None:
            await member.leaving.wait()
        member.leases += 1
        try:
            await self._host(member).ready()
        except BenchtopError:
            self._forget_failed(member)
            raise
        finally:
            self._release(member)

    async def unload(self, member: Member) -> None:
        """Free the model now; its requests fail. Afterwards it is forgotten, unless it is to be kept."""
        if not member.kept:
            self._members.pop(member.name, None)
        if member.turn is not None:
            member.turn.cancel()
        await self._stop(member)

    def pin(self, member: Member, on: bool) -> None:
        """A pinned model is never evicted, for others or for being idle."""
        member.pinned = on
        self._freed.set()

    async def close(self) -> None:
        """Unload everything."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for member in self:
            member.kept = False
            await self.unload(member)

    def share(self, member: Member) -> int:
        """Bytes that a model may take at most: all but what pinned ones have."""
        return max(0, self.limit - sum(each.size for each in self.occupants(but=member) if each.pinned))

    def occupants(self, *, but: Member | None = None) -> list[Occupant]:
        """The models that take memory, as the decisions see them."""
        return [
            Occupant(
                member.name,
                member.size,
                member.used,
                busy=member.leases > 0,
                pinned=member.pinned,
                ttl=self._ttl if member.profile.ttl is None else member.profile.ttl,
            )
            for member in self._members.values()
            if member.loaded and member.seated and member is not but
        ]

    def snapshot(self) -> PoolSnapshot:
        return PoolSnapshot(
            limit=self.limit,
            used=sum(each.size for each in self.occupants()),
            evictions=self.evictions,
            absent=tuple(
                Absent(member.name, member.artifact.format.value, member.artifact.size, member.pinned)
                for member in self
                if member.host is None
            ),
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

    # Loading.

    def _host(self, member: Member) -> Host:
        if self._members.get(member.name) is not member:
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
            self._await(member, self._take_turn(member, tell))
            if stop.is_set():
                raise Cancelled(f"Loading {member.name} was cancelled.")
            return self._measured(member, stop, tell)
        finally:
            # It may have been given the turn in the very moment in which it was cancelled.
            self._event_loop.call_soon_threadsafe(self._pass_turn, member)

    def _await(self, member: Member, work: Coroutine[object, object, None]) -> None:
        """On the model's thread: have the event loop do something; unloading the model ends the wait with Cancelled."""
        member.turn = asyncio.run_coroutine_threadsafe(work, self._event_loop)
        try:
            member.turn.result()
        except CancelledError as error:
            raise Cancelled(f"Loading {member.name} was cancelled.") from error
        finally:
            member.turn = None

    def load_again(self, member: Member, stop: threading.Event, tell: Tell) -> Loaded:
        """On the model's thread, after its engine failed: the room it had is its own still."""
        return self._load_model(member, stop, tell)

    def _measured(self, member: Member, stop: threading.Event, tell: Tell) -> Loaded:
        before = self._resident()
        loaded = self._load_model(member, stop, tell)
        # Weights that are mapped from their file become resident page by page; they count in full from the start.
        member.size = max(self._resident() - before, loaded.model.spec.weight_bytes)
        member.measured = True
        try:
            # It may have taken more than was expected.
            self._await(member, self._make_room(member, tell))
        except BaseException:
            loaded.model.shutdown()
            raise
        return loaded

    async def _take_turn(self, member: Member, tell: Tell) -> None:
        await self._turn.acquire()
        self._holder = member
        member.seated = True
        try:
            await self._make_room(member, tell)
        except BaseException:
            self._pass_turn(member)
            raise

    def _pass_turn(self, member: Member) -> None:
        if self._holder is member:
            self._holder = None
            self._turn.release()

    async def _make_room(self, member: Member, tell: Tell) -> None:
        if member.artifact.format is ArtifactFormat.URL:
            return
        if not member.measured:
            member.size = await asyncio.to_thread(self._expected, member)
        while True:
            room = make_room(self.occupants(but=member), member.size, self.limit)
            if isinstance(room, NoRoom):
                raise LoadFailed(member.name, self._why_not(member, room))
            for name in room.evict:
                await self._evict(self._members[name])
            if not room.drain:
                if not room.evict:
                    return
                continue
            tell(f"waiting for {', '.join(room.drain)} to finish what it is doing")
            await self._drain([self._members[name] for name in room.drain])

    def _why_not(self, member: Member, room: NoRoom) -> str:
        pinned = [each.name for each in self.occupants(but=member) if each.pinned]
        others = f" beside {', '.join(pinned)}, pinned" if pinned else ""
        takes = "takes" if member.measured else "is expected to take"
        return (
            f"{member.name} {takes} {_size(member.size)}, and all models together may take {_size(self.limit)}"
            f"{others}; {_size(room.lacking)} are lacking. Raise --memory-limit, unpin a model, or choose a "
            "smaller one."
        )

    async def _drain(self, members: list[Member]) -> None:
        """Let them finish their requests, and then go; new requests for them wait until they can be loaded again."""
        for member in members:
            member.leaving = member.leaving or asyncio.Event()
        try:
            for member in members:
                while member.leases > 0 and not member.pinned:
                    self._freed.clear()
                    await self._freed.wait()
                if member.loaded and not member.pinned:
                    await self._evict(member)
        finally:
            for member in members:
                _let_in(member)

    async def _evict(self, member: Member) -> None:
        """Unload for others, or for being idle; the next request loads it again."""
        log.info("model evicted", model=member.name, bytes=member.size)
        self.evictions += 1
        member.kept = True
        await self._stop(member)

    async def _stop(self, member: Member) -> None:
        host, member.host = member.host, None
        if host is None:
            return
        member.leaving = member.leaving or asyncio.Event()
        try:
            await host.stop()
            await asyncio.to_thread(give_back_memory)
        finally:
            _let_in(member)
            self._freed.set()

    def _release(self, member: Member) -> None:
        member.leases -= 1
        member.used = time.monotonic()
        self._freed.set()

    def _forget_failed(self, member: Member) -> None:
        """A model that could not be loaded takes nothing, and is tried anew when it is asked for again."""
        if member.host is not None and member.host.state is ModelState.FAILED:
            member.host = None
            if not member.kept:
                self._members.pop(member.name, None)

    # Idle models.

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            for name in expired(self.occupants(), time.monotonic()):
                await self._evict(self._members[name])
            await self._shrink()

    async def _shrink(self) -> None:
        """Evict when the process has grown over the limit since the models were loaded; caches grow with use."""
        while len(there := self.occupants()) > 1 and self._resident() - self._baseline > self.limit:
            if (name := coldest(there)) is None:
                return
            await self._evict(self._members[name])


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


def _let_in(member: Member) -> None:
    """Requests that waited for the model to be gone may have it loaded again."""
    if member.leaving is not None:
        member.leaving.set()
        member.leaving = None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
