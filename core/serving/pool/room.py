"""Room for a pool's models: others are sent away, or drained first, and idle models do not stay.

The decisions are pure functions of `core.serving.pool.eviction`; this carries them out, on the event loop. A decision
is made anew after each wait: meanwhile a model may have been asked for, pinned, or unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from msgspec import Struct

from core.contract.artifact import URL
from core.errors import LoadFailed
from core.lanes import WorkLane
from core.serving.pool.ending import Ending
from core.serving.pool.eviction import Claim, NoRoom, Occupant, find_coldest, list_expired, make_room
from core.serving.pool.member import Member, explain_no_room
from core.serving.pool.members import Members
from core.snapshots import UnloadCause
from core.telemetry.log import get_logger

POLL_SECONDS = 0.1
"""Between two looks at models that are waited for."""
log = get_logger(__name__)


class Expected(Struct, frozen=True):
    """What a model is likely to take, before it was ever loaded."""

    size: int
    """Bytes of main memory."""
    elsewhere: Mapping[str, int] = {}
    """Bytes of accelerators, by their ids, once those that may go for it are gone."""
    capacities: Mapping[str, int] = {}
    """What all models together may take of accelerators now: of what they have there, and what is free."""


Expect = Callable[[Member, int, Sequence[Occupant]], Expected]


class RoomMaker:
    """Keeps the models within `limit` bytes."""

    def __init__(
        self,
        members: Members,
        ending: Ending,
        lane: WorkLane,
        *,
        limit: int,
        expect: Expect,
        resident: Callable[[], int],
    ) -> None:
        """`limit`: bytes of main memory; those of accelerators come with what is expected. `expect`: what a model is
        likely to take, of the bytes of main memory that it may, beside others; asked on a thread of `lane`.
        `resident`: bytes that this process takes now."""
        self._members = members
        self._ending = ending
        self._lane = lane
        self.limit = limit
        self._expect = expect
        self._resident = resident
        self._baseline = resident()
        self.evictions = 0
        self._capacities: Mapping[str, int] = {}
        """What models may take of accelerators, as it was when one was last expected."""

    @property
    def capacities(self) -> Mapping[str, int]:
        """Bytes of accelerators that all models together may take, by their ids; none before one was loaded."""
        return self._capacities

    def share_elsewhere(self, member: Member) -> Mapping[str, int]:
        """Bytes that a model may take of accelerators now, beside those that are there."""
        others = self._members.occupants(but=member)
        return {
            memory: max(0, capacity - sum(each.count_bytes(memory) for each in others))
            for memory, capacity in self._capacities.items()
        }

    def share(self, member: Member) -> int:
        """Bytes that a model may take at most: all but those of pinned models."""
        return max(0, self.limit - sum(each.size for each in self._members.occupants(but=member) if each.pinned))

    async def make(self, member: Member, tell: Callable[[str], None]) -> None:
        """Returns when there is room for the model. Raises LoadFailed where there can be none."""
        if member.artifact.format == URL:
            return
        if not member.measured:
            others = self._members.occupants(but=member)
            expected = await self._lane.run(self._expect, member, self.share(member), others)
            member.size, member.elsewhere = expected.size, expected.elsewhere
            self._capacities = expected.capacities
        while True:
            await self._ending.of_others(member)
            others = self._members.occupants(but=member)
            claims = {
                memory: Claim(need, self._capacities[memory])
                for memory, need in member.elsewhere.items()
                if memory in self._capacities
            }
            room = make_room(others, member.size, self.limit, claims)
            if isinstance(room, NoRoom):
                holding = [each.name for each in others if each.pinned and each.count_bytes(room.memory)]
                problem = explain_no_room(member, room, holding)
                # A measured size may have been that of other memory; it must not bar the next try.
                member.measured = False
                raise LoadFailed(member.name, problem)
            if room.evict:
                await self.evict(room.evict[0], UnloadCause.ROOM)
            elif room.drain:
                tell(f"waiting for {', '.join(room.drain)} to finish what it is doing")
                await self._drain([each for each in self._members if each.name in room.drain])
            else:
                return

    async def evict(self, name: str, cause: UnloadCause) -> None:
        """Unload a model for others, or for being idle, if it may still go; the next request loads it again."""
        member = self._members.find(name)
        if member is None or member.busy or member.pinned or not member.loaded:
            return
        log.info("model evicted", model=member.name, bytes=member.size, cause=cause.value)
        self.evictions += 1
        member.life.unloads[cause] += 1
        member.kept = True
        # It ends also where the model that wanted its room has given up. A model that does not end stays an occupant.
        await self._ending.end(member)

    async def evict_idle(self) -> None:
        """Evict the models whose time is over."""
        for name in list_expired(self._members.occupants(), time.monotonic()):
            await self.evict(name, UnloadCause.IDLE)

    async def shrink(self, is_loading: Callable[[], bool]) -> None:
        """Evict while the process takes more than the limit beside what it took without models: caches grow with use.
        Not while a model loads, which takes more for a moment than it will keep."""
        while not is_loading() and self._resident() - self._baseline > self.limit:
            there = self._members.occupants()
            if len(there) < 2 or (name := find_coldest(there)) is None:
                return
            await self.evict(name, UnloadCause.MEMORY)

    async def _drain(self, members: Sequence[Member]) -> None:
        """Let models finish their requests and then go; new requests for them wait until they can be loaded again."""
        hosts = [member.host for member in members]
        with ExitStack() as doors:
            for member in members:
                doors.enter_context(member.closed())
            for member, host in zip(members, hosts, strict=True):
                while member.host is host and member.stopping is None and member.busy:
                    await self._change()
                    if any(each.pinned for each in members):
                        return
                await self.evict(member.name, UnloadCause.ROOM)

    async def _change(self) -> None:
        """Returns when members have changed, or after POLL_SECONDS: the end of a load does not set `changed`."""
        self._members.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._members.changed.wait()
