"""The models that a pool knows, and what it remembers of those that went. All of it belongs to the event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

from core.contract.artifact import Artifact
from core.errors import Cancelled
from core.reuse import CacheStats
from core.serving.host import Host
from core.serving.pool.eviction import Occupant
from core.serving.pool.life import Lives
from core.serving.pool.member import Member
from core.settings.profile import Profile
from core.snapshots import Absent, LoadFailure, ModelKind, QueueStats

MOST_FAILURES = 32
"""Models of which it is remembered why they could not be loaded."""


class Members:
    """In the order in which they became known."""

    def __init__(self, ttl: float) -> None:
        """`ttl`: idle seconds after which a model without a time of its own may be unloaded; zero for never."""
        self._ttl = ttl
        self._members: dict[str, Member] = {}
        self._failures: dict[str, tuple[str, float]] = {}
        """Why a model could not be loaded, and when; until it can."""
        self.past_queue = QueueStats()
        self.past_cache = CacheStats()
        self.lives = Lives()
        self.changed = asyncio.Event()
        """Set when a request has ended, a model was pinned, or a model is gone."""

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members.values()))

    def find(self, name: str) -> Member | None:
        return self._members.get(name)

    def knows(self, member: Member) -> bool:
        return self._members.get(member.name) is member

    def add(self, artifact: Artifact, profile: Profile, *, kept: bool, kind: ModelKind) -> Member:
        """Know a model, under its artifact's name; one that is known already stays as it is. `kept` for one that the
        user named: it stays known after it is unloaded, and is one that `auto` may stand for."""
        member = self._members.get(artifact.name)
        if member is None:
            member = self._members[artifact.name] = Member(artifact, profile, kept=kept, kind=kind)
            member.life = self.lives.find_life(member.name)
        member.kept = member.kept or kept
        member.named = member.named or kept
        return member

    def release(self, member: Member) -> None:
        """A request that held the model has ended."""
        member.leases -= 1
        member.used = time.monotonic()
        self.changed.set()
        self.forget(member)

    def forget(self, member: Member) -> None:
        """Know the model no more, unless it is to be kept or somebody has to do with it."""
        engaged = member.kept or member.host is not None or member.leases > 0 or member.awaited
        if not engaged and self.knows(member):
            del self._members[member.name]

    def forget_failed(self, member: Member) -> None:
        """A model that could not be loaded takes nothing, and is tried anew when it is asked for again."""
        if member.host is not None and member.host.never_loaded and member.stopping is None:
            if not isinstance(member.host.failure, Cancelled):
                self._remember_failure(member, str(member.host.failure))
            self.remember_totals(member.host)
            member.host = None
            self.forget(member)

    def forget_failure(self, member: Member) -> None:
        """The model could be loaded."""
        self._failures.pop(member.name, None)

    def remember_totals(self, host: Host) -> None:
        """Keep the totals of a model that goes: their sums over all models must not go back."""
        told = host.snapshot()
        self.past_queue = told.queue.after(self.past_queue)
        self.past_cache = told.cache.after(self.past_cache)

    def clear(self) -> None:
        self._members.clear()

    def occupants(self, *, but: Member | None = None) -> list[Occupant]:
        """The models that take memory, as the decisions see them. A model that is ending cannot be sent away again."""
        return [
            Occupant(
                member.name,
                member.size,
                member.used,
                busy=member.busy,
                pinned=member.pinned or member.stopping is not None,
                ttl=self.limit_idleness(member),
                elsewhere=member.elsewhere,
            )
            for member in self
            if member.occupies and member is not but
        ]

    def limit_idleness(self, member: Member) -> float:
        """Seconds that the model may be idle before it is unloaded; infinite for ever."""
        if member.stay is not None:
            return member.stay
        return (self._ttl if member.profile.ttl is None else member.profile.ttl) or math.inf

    def absent(self) -> tuple[Absent, ...]:
        """The models that are not loaded now."""
        return tuple(
            Absent(member.name, member.artifact.format, member.artifact.size, member.pinned, self._problem(member))
            for member in self
            if member.host is None
        )

    def failures(self) -> tuple[LoadFailure, ...]:
        now = time.monotonic()
        return tuple(LoadFailure(name, reason, now - when) for name, (reason, when) in self._failures.items())

    def _problem(self, member: Member) -> str:
        if member.name in self._failures:
            return self._failures[member.name][0]
        return "" if member.is_there() else f"The file of {member.name} is gone: {member.artifact.path}."

    def _remember_failure(self, member: Member, reason: str) -> None:
        self._failures.pop(member.name, None)
        self._failures[member.name] = reason, time.monotonic()
        while len(self._failures) > MOST_FAILURES:
            del self._failures[next(iter(self._failures))]
