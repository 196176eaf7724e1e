"""Finished sequences of llama.cpp's unified cache, of which every pass looks at each cell: they leave it where another
tier has them, and stay where none has."""

import asyncio
from pathlib import Path

from core.cache.disk import DiskTier
from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.guide import WEIGHTS
from core.reuse import Tier
from core.serving.host import Host
from core.serving.kv_memory import IDLE_TOKENS
from tests.fakes.hosting import HostDesk, answer

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
STORE_BYTES = 50_000_000


def desk() -> HostDesk:
    return HostDesk(LlamaCppEngine(), GUIDE, LoadOptions(ctx_size=1024, slots=1))


def prompt(seed: int, length: int = IDLE_TOKENS + 20) -> list[int]:
    return [300 + (place + 1) * seed % 700 for place in range(length)]


async def stored(store: PrefixStore) -> None:
    while not store.stats()[0].entries:
        await asyncio.sleep(0.005)


def resident(host: Host) -> int:
    return host.snapshot().cache.entries


async def test_a_stored_conversation_leaves_the_cells_to_others_and_comes_back_from_memory() -> None:
    first, later = prompt(31), [*prompt(31), *prompt(17, 30)]
    one = desk()
    async with one.hosting(None) as host:
        expected, _ = await answer(host, later)
    store = PrefixStore(STORE_BYTES)
    async with one.hosting(store) as host:
        await answer(host, first)
        assert resident(host) == 1
        await stored(store)
        await answer(host, prompt(37))
        assert resident(host) == 1
        text, usage = await answer(host, later)
        assert usage.cached_tokens == len(first)
        assert host.snapshot().cache.reused == {Tier.MEMORY: len(first)}
    assert text == expected


async def test_what_no_other_tier_has_stays() -> None:
    async with desk().hosting(PrefixStore(0)) as host:
        first = prompt(31)
        await answer(host, first)
        for seed in (37, 41):
            await answer(host, prompt(seed))
        assert resident(host) == 3
        _, usage = await answer(host, [*first, 301])
        assert usage.cached_tokens == len(first)
        assert host.snapshot().cache.reused == {Tier.RESIDENT: len(first)}


async def test_what_is_on_disk_alone_stays(tmp_path: Path) -> None:
    """To read it costs more than its cells do."""
    store = PrefixStore(0, DiskTier(tmp_path, STORE_BYTES))
    async with desk().hosting(store) as host:
        await answer(host, prompt(31))
        while not store.stats()[1].entries:
            await asyncio.sleep(0.005)
        await answer(host, prompt(37))
        assert resident(host) == 2


async def test_a_conversation_that_goes_on_keeps_its_cells() -> None:
    store = PrefixStore(STORE_BYTES)
    async with desk().hosting(store) as host:
        tokens = prompt(31)
        await answer(host, tokens)
        await stored(store)
        for seed in range(3):
            tokens = [*tokens, *prompt(43 + seed, 60)]
            await answer(host, tokens)
        assert set(host.snapshot().cache.reused) == {Tier.RESIDENT}


async def test_what_is_too_large_for_the_memory_tier_stays() -> None:
    store = PrefixStore(1_000)
    async with desk().hosting(store) as host:
        first = prompt(31)
        await answer(host, first)
        for seed in (37, 41):
            await answer(host, prompt(seed))
        _, usage = await answer(host, [*first, 301])
        assert usage.cached_tokens == len(first)
        assert set(host.snapshot().cache.reused) == {Tier.RESIDENT}
