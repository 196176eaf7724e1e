"""Whose turn it is: the queue, priorities, and who makes way for whom."""

import asyncio
from collections.abc import Sequence

import pytest

from core.cache.store import PrefixStore
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.errors import EngineFailed, QueueFull, QueueTimeout
from core.events import Reply
from core.requests import Priority
from core.serving.stream import Stream
from core.snapshots import RequestState
from tests.core.serving.loops.hosted_echo import Tight, gated, hosting, model, state_of, until
from tests.fakes.support import GatedEcho, asks


async def test_the_queue_is_first_in_first_out() -> None:
    async with hosting(model(slots=1)) as host:
        order: list[int] = []

        async def run(number: int, stream: Stream) -> None:
            await stream.reply()
            order.append(number)

        streams = [await host.submit(asks(f"number {i}" * 5)) for i in range(6)]
        await asyncio.gather(*(run(i, stream) for i, stream in enumerate(streams)))
    assert order == list(range(6))


async def test_what_is_more_urgent_leaves_the_queue_first() -> None:
    echo = gated(slots=1)
    async with hosting(echo) as host:
        order: list[str] = []

        async def run(stream: Stream) -> None:
            await stream.reply()
            order.append(stream.request_id)

        running = await host.submit(asks("running", request_id="running"))
        await running.admitted()
        coming = (Priority.BATCH, Priority.NORMAL, Priority.INTERACTIVE)
        streams = [await host.submit(asks(each.value, priority=each, request_id=each.value)) for each in coming]
        tasks = [asyncio.create_task(run(stream)) for stream in (running, *streams)]
        echo.open_gate()
        await asyncio.gather(*tasks)
    assert order == ["running", "interactive", "normal", "batch"]


async def test_an_interactive_prompt_is_computed_before_a_batch_prompt_under_way() -> None:
    echo = gated(context=4096)
    async with hosting(echo) as host:
        long = await host.submit(asks("b" * 3000, priority=Priority.BATCH, request_id="batch"))
        echo.allow(1)
        await until(lambda: len(echo.steps) == 1)
        short = await host.submit(asks("i" * 100, priority=Priority.INTERACTIVE, request_id="interactive"))
        # The step under way may have been planned before it came; the next one was not.
        echo.allow(2)
        await until(lambda: len(echo.steps) == 3)
        assert state_of(host, "batch") is RequestState.PREFILL
        await until(lambda: state_of(host, "interactive") is RequestState.DECODE)
        echo.open_gate()
        await asyncio.gather(long.reply(), short.reply())


async def test_an_interactive_request_waits_for_no_batch_request_though_all_slots_are_theirs() -> None:
    echo = gated(context=4096)
    async with hosting(echo) as host:
        long = [asks(f"{i:02}" * 1000, priority=Priority.BATCH, max_tokens=20, request_id=f"{i}") for i in range(20)]
        batch = [await host.submit(each) for each in long]
        echo.allow(2)
        await until(lambda: len(echo.steps) == 2)
        short = await host.submit(asks("i" * 100, priority=Priority.INTERACTIVE, max_tokens=1))
        answer = asyncio.create_task(short.reply())
        # The step under way may have been planned before it came; the next one was not.
        echo.allow(2)
        assert (await answer).choices[0].text == "i"
        assert len(echo.steps) <= 4
        assert sum(row.state is RequestState.PREEMPTED for row in host.snapshot().requests) <= 1
        echo.open_gate()
        replies = await asyncio.gather(*(stream.reply() for stream in batch))
    assert [reply.choices[0].text for reply in replies] == [f"{i:02}" * 10 for i in range(20)]


async def test_a_paused_batch_request_makes_room_for_what_is_more_urgent_and_goes_on_where_it_was() -> None:
    tight = Tight()
    async with hosting(tight) as host:
        streams = [await host.submit(asks(i * 80, priority=Priority.BATCH)) for i in "ab"]
        tight.allow(12)
        await until(lambda: len(tight.steps) == 12)
        urgent = [await host.submit(asks(i * 80, priority=Priority.INTERACTIVE, max_tokens=80)) for i in "xyz"]
        tight.open_gate()
        replies = await asyncio.gather(*(stream.reply() for stream in (*streams, *urgent)))
    assert [reply.choices[0].text for reply in replies] == [i * 80 for i in "abxyz"]
    assert tight.saves > 0


async def test_a_batch_request_that_was_paused_is_answered_after_the_model_failed() -> None:
    class Fails(GatedEcho):
        def step(self, work: Sequence[Work]) -> Sequence[Step]:
            if any(list(item.tokens).count(ord("i")) > 50 for item in work):
                raise RuntimeError("out of memory")
            return super().step(work)

    first, second = Fails(LoadOptions(ctx_size=4096, slots=1)), gated(context=4096, slots=1)
    models = iter([first, second])
    second.open_gate()
    async with hosting(lambda: next(models)) as host:
        batch = await host.submit(asks("b" * 1200, priority=Priority.BATCH))
        first.allow()
        await until(lambda: len(first.steps) == 1)
        urgent = await host.submit(asks("i" * 100, priority=Priority.INTERACTIVE))
        first.open_gate()
        with pytest.raises(EngineFailed):
            await urgent.reply()
        assert (await batch.reply()).choices[0].text == "b" * 1200


async def test_a_full_queue_refuses_at_once() -> None:
    echo = gated(slots=1)
    async with hosting(echo, max_queue=1) as host:
        running = await host.submit(asks("one"))
        await running.admitted()
        waiting = await host.submit(asks("two"))
        with pytest.raises(QueueFull, match="1 requests are waiting"):
            await host.submit(asks("three"))
        assert host.snapshot().queue.total_rejected == 1
        echo.open_gate()
        await asyncio.gather(running.reply(), waiting.reply())


async def test_waiting_too_long_in_the_queue_is_told_and_only_there() -> None:
    echo = gated(slots=1)
    async with hosting(echo, timeout=0.05) as host:
        running = await host.submit(asks("one"))
        await running.admitted()
        waiting = await host.submit(asks("two"))
        with pytest.raises(QueueTimeout, match="in the queue"):
            await waiting.admitted()
        assert host.snapshot().queue.total_timed_out == 1
        echo.open_gate()
        assert (await running.reply()).choices[0].text == "one"


async def test_without_a_bound_nothing_times_out() -> None:
    echo = gated(slots=1)
    async with hosting(echo, max_queue=0, timeout=0.01) as host:
        streams = [await host.submit(asks(str(i))) for i in range(50)]
        await asyncio.sleep(0.05)
        echo.open_gate()
        replies = [await stream.reply() for stream in streams]
    assert [reply.choices[0].text for reply in replies] == [str(i) for i in range(50)]


async def test_requests_without_a_limit_are_preempted_and_come_back_where_they_were() -> None:
    tight = Tight()
    async with hosting(tight) as host:
        streams = [await host.submit(asks(str(i) * 120)) for i in range(3)]
        tight.open_gate()
        replies = await asyncio.gather(*(stream.reply() for stream in streams))
    assert [reply.choices[0].text for reply in replies] == [str(i) * 120 for i in range(3)]
    assert tight.saves > 0


async def test_a_preempted_request_whose_client_leaves_leaves_its_state_to_the_next_try() -> None:
    tight, store = Tight(), PrefixStore(1_000_000)
    async with hosting(tight, store=store) as host:
        ids = [str(i) for i in range(3)]
        streams = [await host.submit(asks(i * 120, request_id=i)) for i in ids]
        while not any(state_of(host, i) is RequestState.PREEMPTED for i in ids):
            tight.allow()
            await asyncio.sleep(0.001)
        gone = next(i for i in ids if state_of(host, i) is RequestState.PREEMPTED)
        host.cancel(gone)
        tight.allow()
        await until(lambda: store.stats()[0].entries == 1)
        tight.open_gate()
        replies = await asyncio.gather(*(stream.reply() for stream in streams if stream.request_id != gone))
        again = await (await host.submit(asks(gone * 120))).reply()
    assert {reply.choices[0].text for reply in replies} == {i * 120 for i in ids if i != gone}
    assert again.choices[0].text == gone * 120
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


async def test_a_reservation_keeps_a_request_queued_rather_than_failing_it() -> None:
    tight = Tight()
    async with hosting(tight) as host:
        streams = [await host.submit(asks(str(i) * 50, max_tokens=200)) for i in range(4)]
        tight.open_gate()
        replies = await asyncio.gather(*(stream.reply() for stream in streams))
    assert [reply.choices[0].text for reply in replies] == [str(i) * 50 for i in range(4)]
    assert tight.saves == 0


async def test_many_mixed_requests_are_all_answered_right_within_the_cells() -> None:
    def expected(i: int) -> str:
        return f"request {i} " * (i % 7 + 1)

    tight = Tight()
    tight.open_gate()
    async with hosting(tight, max_queue=0) as host:

        async def one(i: int) -> Reply:
            limit = None if i % 3 else 100
            return await (await host.submit(asks(expected(i), max_tokens=limit, n=1 + i % 2))).reply()

        replies = await asyncio.gather(*(one(i) for i in range(60)))
        snapshot = host.snapshot()
    for i, reply in enumerate(replies):
        assert {choice.text for choice in reply.choices} == {expected(i)}
    assert snapshot.kv_cells_used <= 400
    assert snapshot.queue.total_processed == 60
