"""One model loads at a time, so that what it takes can be measured.

The body of a load runs on the thread of its model, everything else on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError

from core.errors import Cancelled
from core.serving.loaded import LoadedModel, Loader
from core.serving.pool.ending import Ending
from core.serving.pool.member import Member
from core.serving.pool.room import RoomMaker

MOST_WEIGHINGS = 3
"""Times that models which are ending are waited for, before a load is measured all the same."""

Tell = Callable[[str], None]
Load = Callable[[Member, threading.Event, Tell, int, Mapping[str, int]], LoadedModel]


class LoadTurn:
    """`load` loads a member on the calling thread, within so many bytes of main memory and of
    accelerators; `resident` tells the process's bytes."""

    def __init__(self, load: Load, room: RoomMaker, ending: Ending, resident: Callable[[], int]) -> None:
        self._load = load
        self._room = room
        self._ending = ending
        self._resident = resident
        self._turn = asyncio.Lock()
        self._holder: Member | None = None
        self._weight = 0
        """What the process takes and all models that ended have freed; its growth is what a load has added."""
        self._event_loop = asyncio.get_running_loop()

    @property
    def taken(self) -> bool:
        """Whether a model loads now."""
        return self._turn.locked()

    def loader(self, member: Member) -> Loader:
        """Loads the member for its host: the first time in turn, with room made for it and its size measured. After
        its engine failed, it is loaded again in the room that it has."""
        loaded_before = False

        def load(stop: threading.Event, tell: Tell) -> LoadedModel:
            nonlocal loaded_before
            try:
                member.life.restarts += loaded_before
                load_now = self._load_timed if loaded_before else self._load_in_turn
                loaded = load_now(member, stop, tell)
            except BaseException as error:
                member.life.load_failures += not isinstance(error, Cancelled)
                raise
            member.life.loads += 1
            loaded_before = True
            return loaded

        return load

    # On the model's thread.

    def _load_in_turn(self, member: Member, stop: threading.Event, tell: Tell) -> LoadedModel:
        tell("waiting for its turn")
        try:
            self._await(member, self._take(member, stop, tell), stop)
            return self._load_measured(member, stop, tell)
        finally:
            # It may have been given the turn in the very moment in which it was cancelled.
            self._event_loop.call_soon_threadsafe(self._pass_on, member)

    def _load_measured(self, member: Member, stop: threading.Event, tell: Tell) -> LoadedModel:
        before = self._weight
        loaded = self._load_timed(member, stop, tell)
        try:
            self._await(member, self._weigh(member), stop)
            # Weights that are mapped from their file become resident page by page, and some caches grow into what was
            # promised to them; they count in full from the start.
            member.size = max(self._weight - before, loaded.promised)
            if loaded.model.spec.buffers:
                member.elsewhere = loaded.elsewhere
            member.measured = True
            # It may have taken more than was expected.
            self._await(member, self._room.make(member, tell), stop)
        except BaseException:
            loaded.shutdown()
            raise
        return loaded

    def _load_timed(self, member: Member, stop: threading.Event, tell: Tell) -> LoadedModel:
        began = time.monotonic()
        loaded = self._load(member, stop, tell, self._room.share(member), self._room.share_elsewhere(member))
        member.life.load_seconds += time.monotonic() - began
        return loaded

    def _await(self, member: Member, work: Coroutine[object, object, None], stop: threading.Event) -> None:
        """Have the event loop do something. Unloading the model ends the wait: raises Cancelled."""
        turn = member.turn = asyncio.run_coroutine_threadsafe(work, self._event_loop)
        if stop.is_set():
            # The setter may have looked for the turn before it was there.
            turn.cancel()
        try:
            turn.result()
        except CancelledError as error:
            raise Cancelled(f"Loading {member.name} was cancelled.") from error
        finally:
            member.turn = None
        if stop.is_set():
            raise Cancelled(f"Loading {member.name} was cancelled.")

    # On the event loop.

    async def _take(self, member: Member, stop: threading.Event, tell: Tell) -> None:
        await self._turn.acquire()
        if stop.is_set():
            # Its thread may have given up already, and would not pass the turn on.
            self._turn.release()
            raise Cancelled(f"Loading {member.name} was cancelled.")
        self._holder = member
        member.seated = True
        try:
            await self._room.make(member, tell)
            await self._weigh(member)
        except BaseException:
            self._pass_on(member)
            raise

    async def _weigh(self, member: Member) -> None:
        """Note the weight at a moment when no other model is ending: how much of the memory of such a model is free
        already is unknown."""
        for _ in range(MOST_WEIGHINGS):
            if not self._ending.is_pending(but=member):
                break
            await self._ending.of_others(member)
        self._weight = self._resident() + self._ending.freed_bytes

    def _pass_on(self, member: Member) -> None:
        if self._holder is member:
            self._holder = None
            self._turn.release()
