"""The models that a request would load, looked up off the event loop and remembered for a moment."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.contract.artifact import URL, Artifact, FormatName
from core.errors import BenchtopError
from core.lanes import WorkLane
from core.models.library.scan import LibraryEntry, Location
from core.names import are_same, parse_asked
from core.telemetry.log import get_logger

FRESH_SECONDS: Final = 5.0
"""Seconds after which the library is looked through again."""
PATIENCE_SECONDS: Final = 2.0
"""Seconds that a client waits for the look through a large library; then it gets the models found before."""
log = get_logger(__name__)


class Loadable(Struct, frozen=True):
    """A model of this machine that nobody has asked for yet."""

    name: str
    """What a request calls it."""
    size: int
    """Bytes on disk."""
    path: Path | None
    """Where it lies; None where the settings alone name it."""
    format: FormatName | None

    @property
    def artifact(self) -> Artifact | None:
        """What would be loaded; None where that was not looked up."""
        if self.path is None or self.format is None:
            return None
        return Artifact(self.name, self.format, self.path, self.size)


class Shelf:
    """Calls `look` once at a time, however many ask. Belongs to one event loop."""

    def __init__(self, look: Callable[[], tuple[LibraryEntry, ...]], lane: WorkLane) -> None:
        self._look = look
        self._lane = lane
        self._found: tuple[LibraryEntry, ...] = ()
        self._when = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def entries(self) -> tuple[LibraryEntry, ...]:
        """All models of this machine, as far as they are found within PATIENCE_SECONDS seconds."""
        if time.monotonic() - self._when > FRESH_SECONDS:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_again())
            await asyncio.wait({self._looking}, timeout=PATIENCE_SECONDS)
        return self._found

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _look_again(self) -> None:
        try:
            self._found = await self._lane.run(self._look)
            self._when = time.monotonic()
        except (BenchtopError, OSError) as error:
            log.warning("the library could not be looked through", reason=str(error))


def list_loadable(
    entries: Collection[LibraryEntry], names: Collection[str], files: Collection[Path], engine: str | None = None
) -> Iterator[Loadable]:
    """The models that a client can name and that are not known yet by these `names` or `files`; with an `engine`, those
    that it runs.

    Where two models share a name, the name stands for neither; a built-in model's name is always its own.
    """
    times = Counter(entry.short for entry in entries)
    for entry in entries:
        unique = entry.location is Location.BUILT_IN or times[entry.short] == 1
        usable = entry.problem is None and entry.share is None and entry.format not in (None, URL)
        runs = engine in entry.engines if engine else bool(entry.engines)
        known = entry.path in files or any(are_same(entry.short, name) for name in names)
        if usable and runs and not known and unique and _can_be_asked_for(entry.short):
            yield Loadable(entry.short, entry.size, entry.path, entry.format)


def _can_be_asked_for(name: str) -> bool:
    try:
        parse_asked(name)
    except BenchtopError:
        return False
    return True
