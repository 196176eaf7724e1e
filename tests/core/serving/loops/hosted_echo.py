"""Hosts of echo models for tests of the loop, and waiting for what its thread does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from core.cache.store import PrefixStore
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import RequestState
from tests.fakes.prefixes import IDENTITY
from tests.fakes.support import GatedEcho


@asynccontextmanager
async def hosting(
    model: EchoModel | Callable[[], EchoModel],
    *,
    max_queue: int = 32,
    timeout: float = 60.0,
    store: PrefixStore | None = None,
) -> AsyncIterator[Host]:
    make = model if callable(model) else lambda: model
    host = Host(
        "echo",
        lambda *_: LoadedModel(make(), "echo", identity=IDENTITY),
        max_queue=max_queue,
        queue_timeout=timeout,
        slots=None,
        store=store,
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


def model(context: int = 512, slots: int = 4) -> EchoModel:
    return EchoModel(LoadOptions(ctx_size=context, slots=slots))


def gated(context: int = 512, slots: int = 4) -> GatedEcho:
    return GatedEcho(LoadOptions(ctx_size=context, slots=slots))


async def until(condition: Callable[[], bool]) -> None:
    """Yield to the loop until the other thread has got there; the suite's timeout bounds it."""
    while not condition():
        await asyncio.sleep(0.001)


def state_of(host: Host, request_id: str) -> RequestState | None:
    return next((row.state for row in host.snapshot().requests if row.id == request_id), None)


class Tight(GatedEcho):
    """Fewer cells than its slots could use, so that requests without a limit must make room for each other."""

    def __init__(self) -> None:
        super().__init__(LoadOptions(ctx_size=300, slots=3))
        self.spec = replace(self.spec, cells=400)
        self.saves = 0

    def save(self, sequence: object) -> bytes:
        self.saves += 1
        return super().save(sequence)  # type: ignore[arg-type]
