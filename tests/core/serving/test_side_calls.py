"""What a client asks beside its conversation (a title, a check of a quota) leaves the conversation at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from core.cache.store import PrefixStore
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.models.fit.sizing import count_cells
from core.reuse import Tier
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.fakes.callers import UnhurriedModel
from tests.fakes.prefixes import IDENTITY
from tests.fakes.support import asks

CONTEXT = 1500
"""Tokens, which are all cells that there are."""
TALK = "What was said before, and what came of it. " * 20
"""Tokens are bytes: 860 of them."""
STORE_BYTES = 50_000_000


@asynccontextmanager
async def hosting(store: PrefixStore, model: EchoModel | None = None) -> AsyncIterator[Host]:
    def load(*_: object) -> LoadedModel:
        served = model or EchoModel(LoadOptions(ctx_size=CONTEXT, slots=1))
        return LoadedModel(served, "echo", identity=IDENTITY)

    host = Host("echo", load, max_queue=32, queue_timeout=60.0, slots=None, store=store)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def ask(host: Host, text: str, limit: int) -> int:
    """Tokens of the prompt that were at hand."""
    return (await (await host.submit(asks(text, max_tokens=limit))).reply()).usage.cached_tokens


@pytest.mark.parametrize("limit", [1, CONTEXT], ids=["one token", "as many as there are"])
async def test_a_short_prompt_of_another_head_leaves_the_conversation_in_the_kv_cache(limit: int) -> None:
    async with hosting(PrefixStore(0)) as host:
        await ask(host, TALK, 10)
        await ask(host, "Title.", limit)
        assert await ask(host, f"{TALK} And now?", 10) >= len(TALK)
        assert host.snapshot().cache.reused == {Tier.RESIDENT: host.snapshot().cache.cached_tokens}
        assert host.snapshot().cache.evictions == 0


async def test_of_side_calls_the_older_make_room_for_the_newer_before_the_conversation_does() -> None:
    async with hosting(PrefixStore(0)) as host:
        await ask(host, TALK, 10)
        for number in range(6):
            await ask(host, f"Write a title for what was said about the number {number}, {number * 11} times.", 100)
        assert host.snapshot().cache.evictions > 0
        assert await ask(host, f"{TALK} And now?", 10) >= len(TALK)


async def test_a_conversation_that_has_to_make_room_comes_back_from_memory() -> None:
    async with hosting(PrefixStore(STORE_BYTES)) as host:
        await ask(host, TALK, 10)
        await ask(host, "x" * 1000, 1)
        assert await ask(host, f"{TALK} And now?", 10) >= len(TALK)
        assert host.snapshot().cache.reused[Tier.MEMORY] >= len(TALK)


async def test_a_conversation_of_which_nobody_asks_again_makes_room_in_the_end() -> None:
    async with hosting(PrefixStore(0)) as host:
        await ask(host, TALK, 10)
        for number in range(30):
            await ask(host, f"Write a title for what was said about the number {number:02}, {number * 11} times.", 100)
        assert await ask(host, f"{TALK} And now?", 10) < len(TALK)


async def test_what_was_promised_is_there_when_its_turn_comes() -> None:
    """Three that may each write more than is left beside the others take turns, and none is put aside."""
    async with hosting(PrefixStore(0)) as host:
        await ask(host, TALK, 10)
        texts = [f"{number}" * 400 for number in range(3)]
        replies = await asyncio.gather(*[(await host.submit(asks(text, max_tokens=600))).reply() for text in texts])
        assert [reply.choices[0].text for reply in replies] == texts
        assert host.snapshot().kv_cells_used <= CONTEXT


async def test_two_that_ask_for_the_whole_context_run_at_once() -> None:
    context = 4096
    model = UnhurriedModel(LoadOptions(ctx_size=context, slots=2))
    model.spec = replace(model.spec, cells=count_cells(context, 2))
    async with hosting(PrefixStore(0), model) as host:
        long = await host.submit(asks("a" * 500, max_tokens=context))
        await long.admitted()
        reply = await (await host.submit(asks("b" * 20, max_tokens=context))).reply()
        assert reply.choices[0].text == "b" * 20
        assert [row.completion_tokens < 500 for row in host.snapshot().requests] == [True]
        assert (await long.reply()).choices[0].text == "a" * 500
