"""The models of one workbench: loaded on demand, held while in use, evicted for others within a limit of memory.

Everything here runs on the event loop. Its parts: `members` knows the models, `turn` loads one at a time and measures
it, `room` sends others away for it, `ending` ends them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.errors import BenchtopError, Cancelled, ModelNotFound, ModelNotReady
from core.lanes import WorkLane
from core.serving.host import Host
from core.serving.loaded import LoadedModel, Loader
from core.serving.pool.ending import Ending
from core.serving.pool.eviction import Occupant
from core.serving.pool.member import Lease, Member
from core.serving.pool.members import Members
from core.serving.pool.room import Expected, RoomMaker
from core.serving.pool.turn import LoadTurn
from core.settings.profile import Profile
from core.snapshots import MemoryUse, ModelKind, ModelSnapshot, PoolSnapshot, UnloadCause
from core.telemetry.log import get_logger

SWEEP_SECONDS = 2.0
"""Between two looks at idle models and at what the process takes."""
log = get_logger(__name__)


class Factory(Protocol):
    """Makes what a pool holds; `core.serving.factory` has the one of a workbench."""

    def host(self, member: Member, loader: Loader) -> Host:
        """A host for the member, not started; `loader` loads it in turn. On the event loop."""
        ...

    def load(
        self,
        member: Member,
        stop: threading.Event,
        tell: Callable[[str], None],
        memory: int,
        elsewhere: Mapping[str, int],
    ) -> LoadedModel:
        """Load the member on the calling thread, within `memory` bytes of main memory and so many of accelerators that
        are limited."""
        ...

    def expect(self, member: Member, memory: int, others: Sequence[Occupant]) -> Expected:
        """What the member is likely to take, of `memory` bytes of main memory at most, beside `others` of which those
        that are not pinned may go for it. May block. Raises LoadFailed for a limit of a device that is not here."""
        ...


class Pool:
    """Made on an event loop."""

    def __init__(
        self,
        factory: Factory,
        *,
        limit: int,
        ttl: float,
        resident: Callable[[], int],
        max_queue: int = 0,
        lane: WorkLane | None = None,
    ) -> None:
        """`limit`: bytes for all models; `ttl`: idle seconds before a model without one of its own is unloaded, zero
        for never; `resident`: bytes this process takes now; `max_queue`: requests that may wait for a model that is
        leaving, zero for any number; `lane`: where `expect` is asked and memory is given back."""
        lane = lane or WorkLane("loading models", 2, None)
        self._factory = factory
        self._max_queue = max_queue
        self._members = Members(ttl)
        self._ending = Ending(self._members, lane)
        self._room = RoomMaker(self._members, self._ending, lane, limit=limit, expect=factory.expect, resident=resident)
        self._turn = LoadTurn(factory.load, self._room, self._ending, resident)
        self._sweeper: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        """Unload what no request wants any more."""
        self._closed = False

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def find(self, name: str) -> Member | None:
        return self._members.find(name)

    def add(
        self, artifact: Artifact, profile: Profile, *, kept: bool = False, kind: ModelKind = ModelKind.CHAT
    ) -> Member:
        """As `Members.add`."""
        return self._members.add(artifact, profile, kept=kept, kind=kind)

    @property
    def hosts(self) -> list[Host]:
        """Of the models that are loaded, loading or failed, in the order in which they became known."""
        return [member.host for member in self if member.host is not None]

    @property
    def limit(self) -> int:
        return self._room.limit

    @property
    def evictions(self) -> int:
        return self._room.evictions

    async def lease(self, member: Member) -> Lease:
        """Load the model where it is not, and hold it.

        Raises QueueFull at once when too many wait for it already, and what kept it from loading.
        """
        await self._let_in(member)
        member.leases += 1
        seat = ExitStack()
        try:
            host = self._host(member)
            seat.enter_context(host.arrival())
            await self._until_loaded(member, host)
        except BaseException as error:
            seat.close()
            self._members.release(member)
            if isinstance(error, BenchtopError):
                self._members.forget_failed(member)
            if isinstance(error, Cancelled):
                # It was not the client that cancelled.
                raise ModelNotReady(member.name, f"The model {member.name} was unloaded; ask again later.") from error
            raise
        return Lease(host, seat, lambda: self._release(member))

    async def load(self, member: Member) -> None:
        """Returns when the model is loaded. Raises what kept it from that."""
        await self._let_in(member)
        member.leases += 1
        try:
            await self._until_loaded(member, self._host(member))
        except BenchtopError:
            self._members.forget_failed(member)
            raise
        finally:
            self._members.release(member)

    async def unload(self, member: Member) -> None:
        """Free the model now; its requests fail. Afterwards it is forgotten, unless the user named it."""
        member.kept = member.named
        if member.host is not None:
            if member.stopping is None and member.loaded:
                member.life.unloads[UnloadCause.ASKED] += 1
            await self._ending.end(member)
        self._members.forget(member)

    def pin(self, member: Member, on: bool) -> None:
        """A pinned model is never evicted, for others or for being idle."""
        member.pinned = on
        self._members.changed.set()

    def keep(self, member: Member, seconds: float) -> None:
        """Let a model be idle for so long before it is unloaded, until it is; infinite for ever."""
        member.stay = seconds
        self._members.changed.set()

    async def let_go(self, member: Member) -> None:
        """Unload a model unless it is in use or pinned; a request for it loads it again."""
        await self._room.evict(member.name, UnloadCause.ASKED)

    async def close(self) -> None:
        """Unload everything, for good."""
        self._closed = True
        for task in (*self._leaving, *([self._sweeper] if self._sweeper is not None else ())):
            task.cancel()
        await self._ending.end(*(member for member in self if member.host is not None))
        self._members.clear()

    def snapshot(self) -> PoolSnapshot:
        there = self._members.occupants()
        return PoolSnapshot(
            limit=self.limit,
            used=sum(each.size for each in there),
            elsewhere=tuple(
                MemoryUse(memory, sum(each.count_bytes(memory) for each in there), capacity)
                for memory, capacity in self._room.capacities.items()
            ),
            evictions=self.evictions,
            absent=self._members.absent(),
            failures=self._members.failures(),
            past_queue=self._members.past_queue,
            past_cache=self._members.past_cache,
            lives=self._members.lives.stats(),
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
                idle_limit=self._members.limit_idleness(member),
            )
            for member in self
            if member.host is not None
        )

    async def _until_loaded(self, member: Member, host: Host) -> None:
        """Returns when it is loaded. Raises what keeps it from that."""
        await host.ready()
        self._members.forget_failure(member)

    def _release(self, member: Member) -> None:
        self._members.release(member)
        if member.stay == 0 and not self._closed:
            # The sweeper would come to it in a moment, but who said so looks at once whether it is gone.
            task = asyncio.create_task(self._room.evict_idle())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _let_in(self, member: Member) -> None:
        """Wait while the model is leaving. One that broke down goes first, so that it is loaded anew."""
        while member.leaving or member.broken:
            if member.broken:
                member.life.unloads[UnloadCause.BROKEN] += 1
                self._ending.begin(member)
            await member.opened(self._max_queue)

    def _host(self, member: Member) -> Host:
        if self._closed or not self._members.knows(member):
            raise ModelNotFound(member.name, f"The model {member.name} was unloaded; ask again to have it loaded.")
        if not member.loaded:
            member.seated = False
            member.host = self._factory.host(member, self._turn.loader(member))
            member.host.start()
            self._sweeper = self._sweeper or asyncio.create_task(self._sweep())
        assert member.host is not None
        return member.host

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._tidy()
            except Exception:
                # The edge of the loop: idle models must go on being looked at.
                log.exception("looking for idle models failed")

    async def _tidy(self) -> None:
        for member in self:
            if member.leases == 0:
                self._members.forget_failed(member)
        await self._room.evict_idle()
        await self._room.shrink(lambda: self._turn.taken)
