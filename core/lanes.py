"""Lanes: threads for what must not stand on an event loop, for each kind of work some, with a waiting room.

With one pool for all, a Hub that hangs or a text of a book's length keeps the models of everybody else waiting. Here
work of one kind waits for its own kind alone, and where too much of it waits already, more is refused at once. What
computes gives way to the models, from its beginning or when it has taken long: see `core.priority`.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Final, ParamSpec, TypeVar

from core.errors import Busy, ModelNotReady
from core.priority import PATIENCE_SECONDS, ThreadWork, give_way

P = ParamSpec("P")
Result = TypeVar("Result")

FIRST_GUESS_SECONDS: Final = 1.0
"""Seconds that work is taken to last before any has been done."""
LONGEST_WAIT_SECONDS: Final = 60
"""Seconds after which a client is told to ask again, at most."""


class _LaneJob:
    """Work from the moment at which a thread is found for it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._work: ThreadWork | None = None
        self._over = False
        self._lowered = False

    def begin(self) -> None:
        """On its thread."""
        self._work = ThreadWork()

    def end(self) -> bool:
        """On its thread, which is to do nothing else where this is False: it has given way."""
        with self._changing:
            self._over = True
            return not self._lowered

    def lower_late(self, patience: float) -> bool:
        """Have its thread give way where it has taken so many seconds of the processor; whether there is nothing more
        to do."""
        with self._changing:
            if self._work is not None and not self._over:
                self._lowered = self._work.lower_late(patience)
            return self._over or self._lowered


class WorkLane:
    """`threads` work at once, `room` more may wait, first come first served; None is any number.

    `run` belongs to one event loop. Threads are started when they are first needed, and do not keep the program alive.
    """

    def __init__(self, name: str, threads: int, room: int | None, *, patience: float | None = None) -> None:
        """`name` tells what is done here, to go on with "The server is busy ...". Work that has taken `patience`
        seconds of the processor gives way to the models; from its beginning where that is zero, never where it is
        None."""
        self.name = name
        self._patience = patience
        self._most = threads
        self._room = room
        self._busy = 0
        """Work that holds a thread, including work whose result is no longer waited for."""
        self._started = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._inbox: SimpleQueue[Callable[[], bool] | None] = SimpleQueue()
        """Jobs, which tell whether their thread may take another one."""
        self._mean = FIRST_GUESS_SECONDS
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> int:
        return self._busy

    async def run(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """What `work` returns or raises, from a thread of this lane.

        Cancelled while it waits, it is never done; while it runs, it is left to end by itself and keeps its thread
        until then. Raises Busy at once where the waiting room is full, ModelNotReady after `close`.
        """
        await self._seat()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        call = partial(contextvars.copy_context().run, partial(work, *args, **kwargs))
        job = _LaneJob()
        if self._patience:
            loop.call_later(self._patience, self._lower_late, loop, job, self._patience)
        self._inbox.put(partial(self._do, loop, job, call, outcome))
        if self._started < self._busy:
            self._started += 1
            threading.Thread(target=self._work, name=f"lane {self.name}", daemon=True).start()
        return await outcome

    def close(self) -> None:
        """Refuse all that waits and all that comes; what runs ends by itself. Idempotent."""
        if self._closed:
            return
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(self._over())
        for _ in range(self._started):
            self._inbox.put(None)

    async def _seat(self) -> None:
        if self._closed:
            raise self._over()
        if self._busy < self._most:
            self._busy += 1
            return
        if self._room is not None and len(self._waiting) >= self._room:
            raise Busy(self.name, len(self._waiting), self._retry_after())
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # The seat was given at the moment at which the waiting task was cancelled.
                self._leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _leave(self, lasted: float | None = None) -> None:
        """Give the seat to the task that has waited longest."""
        if lasted is not None:
            self._mean += 0.2 * (lasted - self._mean)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy -= 1

    def _retry_after(self) -> int:
        return min(LONGEST_WAIT_SECONDS, max(1, math.ceil(self._mean * (len(self._waiting) + 1) / self._most)))

    def _over(self) -> ModelNotReady:
        return ModelNotReady("", "The workbench is being closed; start it again.")

    def _lower_late(self, loop: asyncio.AbstractEventLoop, job: _LaneJob, patience: float) -> None:
        if not job.lower_late(patience):
            loop.call_later(patience, self._lower_late, loop, job, patience)

    # On a thread of the lane.

    def _work(self) -> None:
        if self._patience == 0:
            give_way()
        fresh = True
        while fresh and (job := self._inbox.get()) is not None:
            fresh = job()
            # What it was given may be large.
            del job

    def _do(
        self,
        loop: asyncio.AbstractEventLoop,
        job: _LaneJob,
        call: Callable[[], Result],
        outcome: asyncio.Future[Result],
    ) -> bool:
        """Whether the thread may do other work afterwards."""
        began = time.monotonic()
        job.begin()
        result: Result | None = None
        problem: BaseException | None = None
        if not outcome.cancelled():
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - the edge of the thread: the waiting task gets the error
                problem = error
        lasted = time.monotonic() - began
        fresh = job.end()

        def tell() -> None:
            if not fresh:
                self._started -= 1
            self._leave(lasted)
            if outcome.done():
                return
            if problem is not None:
                outcome.set_exception(problem)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]

        # The loop is closed, and no task waits on it any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell)
        return fresh


class WorkLanes:
    """Those of one workbench."""

    def __init__(self) -> None:
        few = max(2, min(4, os.cpu_count() or 2))
        self.reading = WorkLane("reading prompts", few, 1024, patience=PATIENCE_SECONDS)
        """Rendering and tokenising what is short; how many requests may come is bounded by each model's queue."""
        self.long_reading = WorkLane("reading long prompts", 2, 64, patience=0)
        """The same of what is long, in portions."""
        self.compiling = WorkLane("compiling what answers must be", 2, 64, patience=PATIENCE_SECONDS)
        """Schemas and grammars, each of which may take seconds in a process of its own."""
        self.writing = WorkLane("writing long answers", 2, 256, patience=0)
        self.disk = WorkLane("looking at files", 4, 256, patience=PATIENCE_SECONDS)
        """Names, folders, headers of files here, the list of downloads."""
        self.hub = WorkLane("asking the Hub", 4, 16)
        self.metrics = WorkLane("writing metrics", 1, 16)
        self.loading = WorkLane("loading models", 2, None)
        """What loading does beside the model's own thread. The pool bounds it: models load one at a time."""

    def close(self) -> None:
        work = (self.reading, self.long_reading, self.compiling, self.writing, self.metrics)
        for lane in (*work, self.disk, self.hub, self.loading):
            lane.close()
