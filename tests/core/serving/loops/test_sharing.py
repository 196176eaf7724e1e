"""What requests share of each other's prompts, at once and one after the other."""

from core.requests import Caller
from tests.core.serving.loops.hosted_echo import gated, hosting, model
from tests.fakes.support import asks


async def test_choices_share_one_computation_of_the_prompt() -> None:
    echo = gated()
    echo.open_gate()
    async with hosting(echo) as host:
        reply = await (await host.submit(asks("same prompt for all of them", n=3))).reply()
    assert [choice.text for choice in reply.choices] == ["same prompt for all of them"] * 3
    prefilled = sum(count for step in echo.steps for count in step if count > 1)
    assert prefilled == reply.usage.prompt_tokens
    assert reply.usage.cached_tokens == 0


async def test_a_second_turn_computes_only_what_is_new() -> None:
    async with hosting(model()) as host:
        await (await host.submit(asks("the same question"))).reply()
        again = await (await host.submit(asks("the same question"))).reply()
        stats = host.snapshot().cache
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert (stats.lookups, stats.hits, stats.entries) == (2, 1, 1)


async def test_a_prefix_is_shared_at_any_token() -> None:
    async with hosting(model()) as host:
        await (await host.submit(asks("shared beginning, first end"))).reply()
        other = await (await host.submit(asks("shared beginning, another"))).reply()
    assert other.usage.cached_tokens == 1 + len("user\nshared beginning, ")


async def test_tenants_share_no_prefix() -> None:
    async with hosting(model()) as host:
        await (await host.submit(asks("a secret", caller=Caller(tenant="one")))).reply()
        other = await (await host.submit(asks("a secret", caller=Caller(tenant="two")))).reply()
    assert other.usage.cached_tokens == 0


async def test_cache_off_neither_reads_nor_leaves_anything() -> None:
    async with hosting(model()) as host:
        await (await host.submit(asks("question", cache=False))).reply()
        assert host.snapshot().cache.entries == 0
        await (await host.submit(asks("question"))).reply()
        again = await (await host.submit(asks("question", cache=False))).reply()
    assert again.usage.cached_tokens == 0


async def test_requests_that_come_at_once_compute_a_common_prefix_once() -> None:
    echo = gated(context=2048)
    common = "c" * 600
    async with hosting(echo) as host:
        streams = [await host.submit(asks(common + str(i))) for i in range(3)]
        echo.open_gate()
        replies = [await stream.reply() for stream in streams]
    assert [reply.usage.cached_tokens > 600 for reply in replies] == [False, True, True]
