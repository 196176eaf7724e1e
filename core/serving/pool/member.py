"""A model of the pool, and the hold that a request has on it. Both belong to the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager

from core.contract.artifact import NO_FILES, Artifact
from core.contract.models import ModelSpec
from core.contract.placement import HOST
from core.errors import QueueFull
from core.serving.ability import Request
from core.serving.host import Host
from core.serving.pool.eviction import NoRoom
from core.serving.pool.life import ModelLife
from core.serving.prompts import PromptReader
from core.serving.ready import Traits
from core.serving.stream import Stream
from core.settings.profile import Profile
from core.sizes import format_size
from core.snapshots import ModelKind, ModelState

RETRY_AFTER_SECONDS = 5
"""Seconds after which a client may ask again that found too many requests waiting for a model that is leaving."""


class Member:
    """A model that is served under a name, loaded or not."""

    def __init__(self, artifact: Artifact, profile: Profile, *, kept: bool, kind: ModelKind = ModelKind.CHAT) -> None:
        self.name = artifact.name
        self.artifact = artifact
        self.own = profile
        """What the settings say of it."""
        self.profile = profile
        """What it is loaded with: `own`, with the options laid over it that were given when it was last loaded."""
        self.named = kept
        """Whether the user named it, at the start or in the settings; other models came by a request."""
        self.kept = kept
        """Whether it stays known after it is unloaded, to be loaded again on demand."""
        self.kind = kind
        """What its files promise; a request finds out what it really does."""
        self.pinned = profile.pin
        self.stay: float | None = None
        """Seconds it may be idle, as a request has said since it was loaded; None leaves it to the settings."""
        self.host: Host | None = None
        self.life = ModelLife()
        """Its own, until a pool knows it by its name."""
        self.leases = 0
        self.used = time.monotonic()
        self.size = 0
        """Bytes of main memory it was measured to take when it was last loaded; before that, what it is expected to."""
        self.elsewhere: Mapping[str, int] = {}
        """The same of accelerators, by their ids."""
        self.measured = False
        self.seated = False
        """Whether it was given its turn to load, so that its bytes count; a model that waits takes nothing."""
        self.turn: Future[None] | None = None
        """While its thread waits for its turn to load, or for room."""
        self.stopping: asyncio.Task[None] | None = None
        """While its thread ends; until then its bytes count."""
        self._doors = 0
        self._outside = 0
        self._opened = asyncio.Event()

    @property
    def loaded(self) -> bool:
        return self.host is not None and not self.host.state.is_down

    def is_there(self) -> bool:
        """Whether there is still something to load. Touches the disk for a moment."""
        made_of_files = self.artifact.format not in NO_FILES
        return not made_of_files or self.artifact.path.exists()

    @property
    def occupies(self) -> bool:
        """Whether it takes memory."""
        return self.seated and (self.loaded or self.stopping is not None)

    @property
    def busy(self) -> bool:
        """In use, being loaded, or on its way out: not to be sent away now."""
        loading = self.host is not None and self.host.state is ModelState.LOADING
        return self.leases > 0 or loading or self.stopping is not None

    @property
    def broken(self) -> bool:
        """Whether it went down after it had been loaded, and was not told to end yet."""
        host = self.host
        down = host is not None and host.state.is_down and not host.never_loaded
        return down and self.stopping is None

    @property
    def leaving(self) -> bool:
        """Whether new requests wait until it is gone, and then have it loaded again."""
        return self._doors > 0

    @property
    def awaited(self) -> bool:
        """Whether requests wait for it to be gone."""
        return self._outside > 0

    @contextmanager
    def closed(self) -> Iterator[None]:
        """New requests wait while it is closed; several callers may close it at once."""
        self.close_door()
        try:
            yield
        finally:
            self.open_door()

    def close_door(self) -> None:
        self._doors += 1
        self._opened.clear()

    def open_door(self) -> None:
        self._doors -= 1
        if self._doors == 0:
            self._opened.set()

    async def opened(self, depth: int) -> None:
        """Returns when it is not leaving. Raises QueueFull when `depth` requests wait for that; zero is no bound."""
        if depth and self._outside >= depth:
            raise QueueFull(depth, RETRY_AFTER_SECONDS)
        self._outside += 1
        try:
            while self.leaving:
                await self._opened.wait()
        finally:
            self._outside -= 1


class Lease:
    """Keeps a loaded model from being evicted, until `release` or until the stream it was given to has ended.

    A seat in the model's queue belongs to it until it has been used.
    """

    def __init__(self, host: Host, seat: ExitStack, release: Callable[[], None]) -> None:
        self._host = host
        self._seat = seat
        self._release = release
        self._held = True

    @property
    def name(self) -> str:
        """By which the model is served."""
        return self._host.name

    @property
    def spec(self) -> ModelSpec:
        return self._host.spec

    @property
    def traits(self) -> Traits:
        return self._host.traits

    async def submit(self, request: Request) -> Stream:
        """As `Host.submit`, once; the lease ends with the stream, or now where that raises."""
        try:
            stream = await self._host.submit(request, arrived=True)
        except BaseException:
            self.release()
            raise
        self._seat.close()
        stream.when_over(self.release)
        return stream

    async def reader(self) -> PromptReader:
        """As `Host.reader`."""
        return await self._host.reader()

    def release(self) -> None:
        """Idempotent."""
        if self._held:
            self._held = False
            self._seat.close()
            self._release()


def explain_no_room(member: Member, room: NoRoom, pinned: Sequence[str]) -> str:
    """What keeps a model from being loaded, where those that are `pinned` have some of the memory that is short."""
    others = f" beside {', '.join(pinned)}, pinned" if pinned else ""
    takes = "takes" if member.measured else "is expected to take"
    size = member.size if room.memory == HOST else member.elsewhere.get(room.memory, 0)
    of = f" of {room.memory}" if room.memory != HOST else ""
    return (
        f"{member.name} {takes} {format_size(size)}{of}, and all models together may take "
        f"{format_size(room.limit)}{of}{others}; {format_size(room.lacking)} are lacking. "
        "Raise --memory-limit, unpin a model, or choose a smaller one."
    )
