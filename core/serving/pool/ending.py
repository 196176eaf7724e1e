"""How a pool's models end: their requests fail, their threads end, their memory is given back."""

from __future__ import annotations

import asyncio

from core.hardware import give_back_memory
from core.lanes import WorkLane
from core.serving.host import Host
from core.serving.pool.member import Member
from core.serving.pool.members import Members

ENDING_SECONDS = 30.0
"""How long a model's thread is waited for."""


class Ending:
    """Belongs to the event loop."""

    def __init__(self, members: Members, lane: WorkLane) -> None:
        """`lane`: where memory is given back to the system."""
        self._members = members
        self._lane = lane
        self.freed_bytes = 0
        """By all models that ever ended."""

    def begin(self, member: Member) -> asyncio.Task[None]:
        """Fail the requests of a model that has a host. New requests wait until its thread has ended and freed it."""
        if member.stopping is None:
            assert member.host is not None
            member.close_door()
            member.host.begin_stop()
            if member.turn is not None:
                member.turn.cancel()
            held = member.size if member.occupies else 0
            member.stopping = asyncio.create_task(self._end(member, member.host, held))
        return member.stopping

    async def end(self, *members: Member) -> None:
        """`begin`, and wait for the end. A model that does not end counts as taking its memory until it does."""
        if ending := {self.begin(member) for member in members}:
            await asyncio.wait(ending, timeout=ENDING_SECONDS)

    def is_pending(self, *, but: Member) -> bool:
        """Whether another model is ending."""
        return any(member.stopping is not None and member is not but for member in self._members)

    async def of_others(self, member: Member) -> None:
        """Wait for the other models that are ending."""
        if ending := {each.stopping for each in self._members if each.stopping is not None and each is not member}:
            await asyncio.wait(ending, timeout=ENDING_SECONDS)

    async def _end(self, member: Member, host: Host, held: int) -> None:
        """`held`: the bytes it took when it was told to end; a model that broke down freed its memory long ago."""
        try:
            await host.ended()
            await self._lane.run(give_back_memory)
        finally:
            self.freed_bytes += held
            self._members.remember_totals(host)
            member.host, member.seated, member.stopping, member.stay = None, False, None, None
            member.open_door()
            self._members.changed.set()
            self._members.forget(member)
