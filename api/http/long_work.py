"""Work for one request that may be long: on the event loop where it is short and a thread is not worth the while, else
off it, so that nobody else waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from core.lanes import WorkLane

Result = TypeVar("Result")

MANY_PARTS: Final = 500
"""Messages, blocks, items or tools. Each is translated in some microseconds."""


async def run_by_length(lane: WorkLane, parts: int, work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, which takes its time for each of so many parts. Raises Busy."""
    return await lane.run(work) if parts > MANY_PARTS else work()
