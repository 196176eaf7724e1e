"""What becomes of computed prefixes while a model serves, on echo models whose every token is known."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core.cache.disk import DiskTier, list_stored_files
from core.cache.store import PrefixStore
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.engines.echo import EchoModel
from core.errors import EngineFailed
from core.requests import Caller, RawTokens
from core.reuse import Cause, Tier
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import ModelState
from tests.fakes.prefixes import IDENTITY
from tests.fakes.support import asks

WAIT = 20.0
WORDS = "words that are long enough to be worth keeping for a while"


class FailingEcho(EchoModel):
    """Fails in the next step once it is told to."""

    failing = False

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if FailingEcho.failing:
            FailingEcho.failing = False
            raise EngineFailed("It failed, as it was told to.")
        return super().step(work)


@asynccontextmanager
async def hosting(store: PrefixStore, *, context: int = 1024, slots: int = 2) -> AsyncIterator[Host]:
    options = LoadOptions(ctx_size=context, slots=slots)
    host = Host(
        "echo",
        lambda *_: LoadedModel(FailingEcho(options), "echo", identity=IDENTITY),
        max_queue=32,
        queue_timeout=60.0,
        slots=None,
        store=store,
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Yield to the other threads until they have got there; the suite's timeout bounds it."""
    while not condition():
        await asyncio.sleep(0.005)


async def cached(host: Host, text: str, **fields: Any) -> int:
    reply = await (await host.submit(asks(text, **fields))).reply()
    assert reply.choices[0].text == text
    return reply.usage.cached_tokens


async def test_a_loop_that_rests_puts_what_it_has_aside() -> None:
    store = PrefixStore(1_000_000)
    async with hosting(store) as host:
        await cached(host, WORDS)
        await until(lambda: store.stats()[0].entries == 1)


async def test_after_the_engine_failed_the_next_request_goes_on_from_memory() -> None:
    store = PrefixStore(1_000_000)
    async with hosting(store) as host:
        await cached(host, WORDS)
        await until(lambda: store.stats()[0].entries == 1)
        FailingEcho.failing = True
        try:
            await (await host.submit(asks("something else"))).reply()
        except EngineFailed:
            await until(lambda: host.state is ModelState.READY)
        assert await cached(host, WORDS) > len(WORDS)
        assert host.snapshot().cache.reused[Tier.MEMORY] > len(WORDS)


async def test_what_has_to_leave_the_kv_cache_comes_back_from_memory() -> None:
    store = PrefixStore(1_000_000)
    async with hosting(store, context=400, slots=1) as host:
        for number in range(8):
            assert await cached(host, f"{number} {WORDS}", max_tokens=100) < 20
        assert host.snapshot().cache.evictions > 0
        for number in range(8):
            assert await cached(host, f"{number} {WORDS}", max_tokens=100) > len(WORDS)
        assert host.snapshot().cache.reused[Tier.MEMORY] > len(WORDS)


async def test_without_room_anywhere_what_was_evicted_is_told_as_that() -> None:
    async with hosting(PrefixStore(0), context=400, slots=1) as host:
        for number in (*range(8), *range(8)):
            await cached(host, f"{number} {WORDS}", max_tokens=100, request_id=str(number))
        reuses = [row.reuse for number in range(8) if (row := host.row(str(number))) is not None]
        evicted = {reuse.detail for reuse in reuses if reuse.cause is Cause.EVICTED}
        assert evicted == {"the room of the KV cache"}
        assert host.snapshot().cache.lost[Cause.EVICTED] > len(WORDS)


async def test_a_request_waits_for_its_prefix_from_disk_and_others_run_on(tmp_path: Path) -> None:
    store = PrefixStore(1_000_000, DiskTier(tmp_path, 1_000_000), min_tokens=1)
    async with hosting(store) as host:
        await cached(host, WORDS)
    store.close(WAIT)
    store = PrefixStore(1_000_000, DiskTier(tmp_path, 1_000_000), min_tokens=1)
    async with hosting(store) as host:
        known, other = await asyncio.gather(cached(host, WORDS), cached(host, "another text altogether"))
    store.close(WAIT)
    assert known > len(WORDS)
    assert other < 20


async def test_a_disk_that_cannot_be_written_changes_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = PrefixStore(1_000_000, DiskTier(tmp_path / "file" / "prefixes", 1_000_000), min_tokens=1, settle=0.0)
    async with hosting(store) as host:
        await cached(host, WORDS)
        await until(lambda: bool(store.stats()[1].problem))
        assert await cached(host, WORDS) > len(WORDS)
    async with hosting(store) as host:
        assert await cached(host, WORDS) > len(WORDS)
    store.close(WAIT)


async def test_a_request_without_cache_leaves_nothing_and_says_why() -> None:
    store = PrefixStore(1_000_000)
    async with hosting(store) as host:
        assert await cached(host, WORDS, cache=False, request_id="plain") == 0
        row = host.row("plain")
        assert row is not None
        assert row.reuse.cause is Cause.NO_CACHE_ASKED
    assert store.stats()[0].entries == 0


async def test_a_stored_conversation_that_goes_on_in_another_way_is_cut_where_they_part() -> None:
    store = PrefixStore(1_000_000)
    first = list(f"{WORDS} one way".encode())
    other = list(f"{WORDS} another".encode())
    async with hosting(store) as host:
        await (await host.submit(asks("", prompt=RawTokens(tuple(first)), max_tokens=2))).reply()
    async with hosting(store) as host:
        reply = await (await host.submit(asks("", prompt=RawTokens(tuple(other)), request_id="b"))).reply()
        row = host.row("b")
    assert reply.choices[0].text == bytes(other).decode()
    assert row is not None
    assert row.reuse.tokens == len(WORDS) + 1
    assert row.reuse.departure is not None
    assert (row.reuse.departure.known[:3], row.reuse.departure.asked[:3]) == ("one", "ano")
    assert row.reuse.cause is Cause.HISTORY_EDITED


async def test_mixed_requests_leave_nothing_behind_but_what_is_kept(tmp_path: Path) -> None:
    store = PrefixStore(20_000, DiskTier(tmp_path, 60_000), min_tokens=1, settle=0.0)
    async with hosting(store, context=600, slots=3) as host:
        for turn in range(6):
            texts = [f"{WORDS} {number} {turn * number}" for number in range(9)]
            streams = [
                await host.submit(asks(text, caller=Caller(tenant=str(at % 2)), request_id=f"{turn}-{at}"))
                for at, text in enumerate(texts)
            ]
            for at, stream in enumerate(streams):
                if at % 4 == 3:
                    host.cancel(stream.request_id)
            replies = await asyncio.gather(*(s.reply() for at, s in enumerate(streams) if at % 4 != 3))
            assert [reply.choices[0].text for reply in replies] == [t for at, t in enumerate(texts) if at % 4 != 3]
        await until(lambda: host.snapshot().slots_used == 0)
        assert store.memory_used <= 20_000 * 1.25 + 3_000
    store.close(WAIT)
    assert sum(file.size for file in list_stored_files(tmp_path)) <= 60_000 + 3_000
