"""The loop, through a host, on echo models that step only when told to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from core.cache.store import PrefixStore
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.engines.echo import EchoModel
from core.errors import (
    Cancelled,
    ContextExceeded,
    EngineFailed,
    LoadFailed,
    ModelNotReady,
    QueueFull,
    QueueTimeout,
    RequestError,
)
from core.events import FinishReason, Reply, TextDelta
from core.requests import Caller, LineBounds, Priority, RawText, RawTokens, Sampling
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.stream import Stream
from core.snapshots import ModelState, RequestState
from tests.fakes.prefixes import IDENTITY
from tests.fakes.support import GatedEcho, asks


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


async def test_a_request_is_answered_with_usage_and_timings() -> None:
    async with hosting(model()) as host:
        reply = await (await host.submit(asks("hello"))).reply()
    (choice,) = reply.choices
    assert choice.text == "hello"
    assert choice.reason is FinishReason.STOP
    assert reply.usage.prompt_tokens == len("user\nhello\nassistant\n") + 3
    assert reply.usage.completion_tokens == 6
    assert reply.timings.queued >= 0
    assert reply.timings.prefill > 0


async def test_max_tokens_ends_a_choice_with_length() -> None:
    async with hosting(model()) as host:
        reply = await (await host.submit(asks("hello", max_tokens=3))).reply()
    assert (reply.choices[0].text, reply.choices[0].reason) == ("hel", FinishReason.LENGTH)
    assert reply.usage.completion_tokens == 3


async def test_a_stop_string_across_tokens_is_cut_off_and_named() -> None:
    async with hosting(model()) as host:
        reply = await (await host.submit(asks("one END two", stop=("END", "zz")))).reply()
    assert reply.choices[0].text == "one "
    assert reply.choices[0].reason is FinishReason.STOP_SEQUENCE
    assert reply.choices[0].stop == "END"


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (LineBounds(indent=2), "if a:\n  b\n "),
        (LineBounds(indent=1), "if a:\n  b\n c"),
        (LineBounds(seconds=1e-12), "if a:\n"),
        (LineBounds(seconds=1e9), "if a:\n  b\n c"),
    ],
)
async def test_bounds_on_lines_end_a_choice_behind_its_first_line(bounds: LineBounds, text: str) -> None:
    async with hosting(model()) as host:
        job = asks("if a:\n  b\n c", lines=bounds, sampling=Sampling(logprobs=0), tell_tokens=True)
        (choice,) = (await (await host.submit(job)).reply()).choices
    assert choice.text == text
    assert choice.reason is (FinishReason.STOP if text.endswith("c") else FinishReason.LENGTH)
    assert b"".join(logprob.data for logprob in choice.logprobs).decode() == text


async def test_a_full_context_ends_a_choice_and_says_so() -> None:
    async with hosting(model(context=64, slots=1)) as host:
        reply = await (await host.submit(asks("a" * 20, ignore_eos=True))).reply()
    assert reply.choices[0].reason is FinishReason.CONTEXT
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens == 64


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers() -> None:
    async with hosting(model(context=64)) as host:
        with pytest.raises(ContextExceeded, match="has 119 tokens and the context holds 64"):
            await host.submit(asks("a" * 100))


async def test_an_empty_prompt_and_foreign_tokens_are_refused() -> None:
    async with hosting(model()) as host:
        with pytest.raises(RequestError, match="empty"):
            await host.submit(asks("", prompt=RawText("")))
        with pytest.raises(RequestError, match="between 0 and 257"):
            await host.submit(asks("", prompt=RawTokens((258,))))


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


async def test_running_streams_go_on_while_a_long_prompt_is_computed() -> None:
    echo = gated(context=4096)
    async with hosting(echo) as host:
        first = await host.submit(asks("short question", max_tokens=200, ignore_eos=True))
        echo.allow(2)
        await until(lambda: state_of(host, "") is RequestState.DECODE)
        second = await host.submit(asks("x" * 3000))
        echo.open_gate()
        await asyncio.gather(first.reply(), second.reply())
    mixed = [step for step in echo.steps if len(step) == 2 and max(step) > 1]
    assert mixed
    assert all(min(step) == 1 for step in mixed)


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


async def test_cancelling_in_the_queue_takes_the_request_out() -> None:
    echo = gated(slots=1)
    async with hosting(echo) as host:
        running = await host.submit(asks("one"))
        await running.admitted()
        waiting = await host.submit(asks("two"))
        waiting.cancel()
        with pytest.raises(Cancelled):
            await waiting.admitted()
        assert host.snapshot().queue.pending == 0
        echo.open_gate()
        await running.reply()
    assert host.snapshot().queue.total_cancelled == 1


async def test_cancelling_in_prefill_interrupts_the_step() -> None:
    echo = gated()
    async with hosting(echo) as host:
        stream = await host.submit(asks("a long prompt"))
        await asyncio.to_thread(echo.stepping.wait)
        stream.cancel()
        with pytest.raises(Cancelled):
            await stream.reply()
        await until(lambda: host.snapshot().slots_used == 0)
        assert echo.steps == []
        echo.open_gate()
        assert (await (await host.submit(asks("next"))).reply()).choices[0].text == "next"


async def test_cancelling_while_decoding_frees_the_slot_within_a_step() -> None:
    echo = gated(slots=1)
    async with hosting(echo) as host:
        stream = await host.submit(asks("never ends", ignore_eos=True))
        echo.allow(3)
        batches = aiter(stream)
        await anext(batches)
        waiting = await host.submit(asks("next"))
        stream.cancel()
        echo.open_gate()
        assert (await waiting.reply()).choices[0].text == "next"
        assert sum(1 for step in echo.steps if step == [1]) < 20


async def test_leaving_a_stream_early_cancels_it() -> None:
    echo = gated()
    async with hosting(echo) as host:
        stream = await host.submit(asks("x", ignore_eos=True))
        echo.allow(2)
        async with aclosing(aiter(stream)) as batches:
            await anext(batches)
        await until(lambda: host.snapshot().queue.total_cancelled == 1)


async def test_a_cancelled_answer_stays_in_the_prefix_cache() -> None:
    echo = gated()
    async with hosting(echo) as host:
        stream = await host.submit(asks("question", ignore_eos=True, request_id="gone"))
        echo.allow(3)
        await until(lambda: state_of(host, "gone") is RequestState.DECODE)
        assert host.cancel("gone")
        assert not host.cancel("unknown")
        echo.open_gate()
        await until(lambda: host.snapshot().cache.entries == 1)
        again = await (await host.submit(asks("question"))).reply()
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert stream.request_id == "gone"


class FailsOnce(EchoModel):
    """Fails the first step that holds a given number of tokens."""

    failed = threading.Event()

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if not self.failed.is_set() and any(len(item.tokens) > 40 for item in work):
            self.failed.set()
            raise RuntimeError("a fault in native code")
        return super().step(work)


async def test_an_engine_failure_fails_its_step_and_the_next_request_is_served_by_a_new_model() -> None:
    FailsOnce.failed.clear()
    async with hosting(lambda: FailsOnce(LoadOptions(ctx_size=512, slots=2))) as host:
        stream = await host.submit(asks("x" * 60))
        with pytest.raises(EngineFailed, match="a fault in native code"):
            await stream.reply()
        reply = await (await host.submit(asks("still there"))).reply()
        assert reply.choices[0].text == "still there"
        assert host.state is ModelState.READY
        # Totals are counted on from the model before.
        assert host.snapshot().cache.lookups == 2


async def test_a_request_that_comes_while_the_model_is_loaded_again_waits_for_it() -> None:
    FailsOnce.failed.clear()
    proceed, loads = threading.Event(), iter([True, False])

    def load() -> EchoModel:
        if not next(loads):
            proceed.wait()
        return FailsOnce(LoadOptions(ctx_size=512, slots=2))

    async with hosting(load) as host:
        with pytest.raises(EngineFailed, match="a fault in native code"):
            await (await host.submit(asks("x" * 60))).reply()
        assert host.state is ModelState.RESTARTING
        again = asyncio.create_task(host.submit(asks("still there")))
        await asyncio.sleep(0)
        proceed.set()
        assert (await (await again).reply()).choices[0].text == "still there"


class AlwaysFails(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        raise RuntimeError("broken")


async def test_a_model_that_fails_again_and_again_is_given_up_and_health_can_tell() -> None:
    async with hosting(lambda: AlwaysFails(LoadOptions(ctx_size=512, slots=1))) as host:
        for _ in range(4):
            with pytest.raises(EngineFailed):
                await (await host.submit(asks("x"))).reply()
        await until(lambda: host.state is ModelState.BROKEN)
        with pytest.raises(ModelNotReady, match="not running"):
            await host.submit(asks("x"))


async def test_requests_wait_while_the_model_loads_and_hear_when_it_cannot() -> None:
    proceed = threading.Event()

    def load(*_: object) -> LoadedModel:
        proceed.wait()
        raise LoadFailed("echo", "No such weights.")

    host = Host("echo", load, max_queue=2, queue_timeout=60, slots=1)
    host.start()
    waiting = [asyncio.create_task(host.submit(asks(str(i)))) for i in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await host.submit(asks("one too many"))
    assert host.snapshot().state is ModelState.LOADING
    proceed.set()
    for task in waiting:
        with pytest.raises(LoadFailed, match="No such weights"):
            await task
    assert host.state is ModelState.FAILED


async def test_unloading_fails_what_is_running_and_waiting() -> None:
    echo = gated(slots=1)
    async with hosting(echo) as host:
        running = await host.submit(asks("one", ignore_eos=True))
        waiting = await host.submit(asks("two"))
        await asyncio.to_thread(echo.stepping.wait)
        await host.stop()
        for stream in (running, waiting):
            with pytest.raises((Cancelled, ModelNotReady)):
                await stream.reply()


class Tight(GatedEcho):
    """Fewer cells than its slots could use, so that requests without a limit must make room for each other."""

    def __init__(self) -> None:
        super().__init__(LoadOptions(ctx_size=300, slots=3))
        from msgspec.structs import replace

        self.spec = replace(self.spec, cells=400)
        self.saves = 0

    def save(self, sequence: object) -> bytes:
        self.saves += 1
        return super().save(sequence)  # type: ignore[arg-type]


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


async def test_all_tokens_of_a_step_come_in_one_batch_of_events() -> None:
    async with hosting(model()) as host:
        stream = await host.submit(asks("abcdef"))
        events = [event async for batch in stream for event in batch]
    text = [event for event in events if isinstance(event, TextDelta)]
    assert "".join(event.text for event in text) == "abcdef"
    assert sum(event.tokens for event in text) == 6


async def test_logprobs_come_with_the_text_they_belong_to_and_stop_with_it() -> None:
    async with hosting(model()) as host:
        stream = await host.submit(asks("aé END x", stop=("END",), sampling=Sampling(logprobs=1)))
        reply = await stream.reply()
    (choice,) = reply.choices
    assert choice.text == "aé "
    assert b"".join(logprob.data for logprob in choice.logprobs).decode() == "aé "
    assert choice.logprobs[0].top[0].token == "a"


@pytest.mark.parametrize("limit", range(1, 8))
async def test_a_character_cut_by_the_limit_is_left_out_and_its_tokens_are_told_as_they_are(limit: int) -> None:
    said, logprobs = "€é🙂", Sampling(logprobs=0)
    async with hosting(model()) as host:
        reply = await (await host.submit(asks(said, max_tokens=limit, n=2, sampling=logprobs))).reply()
    for choice in reply.choices:
        assert choice.text == said.encode()[:limit].decode(errors="ignore")
        assert b"".join(logprob.data for logprob in choice.logprobs) == said.encode()[:limit]
        assert choice.reason is FinishReason.LENGTH
    assert reply.usage.completion_tokens == 2 * limit


async def test_a_character_cut_by_a_full_context_is_left_out() -> None:
    prompt = RawTokens(tuple("é".encode()) * 20)
    async with hosting(model(context=63)) as host:
        reply = await (await host.submit(asks("", prompt=prompt))).reply()
    assert reply.choices[0].reason is FinishReason.CONTEXT
    assert reply.choices[0].text == "é" * 11


async def test_the_board_tells_of_a_prompt_how_much_is_computed_and_how_long_it_still_takes() -> None:
    echo = gated(context=4096)
    echo.open_gate()
    async with hosting(echo) as host:
        await (await host.submit(asks("x" * 1000, max_tokens=1))).reply()
        echo.close_gate()
        first = await host.submit(asks("x" * 3000, request_id="first"))
        second = await host.submit(asks("y" * 3000, request_id="second"))
        echo.allow(2)
        known = len("\0user\n") + 1000
        await until(lambda: any(row.prefilled == known + 2 * host.spec.batch for row in host.snapshot().requests))
        one, other = host.row("first"), host.row("second")
        assert one is not None
        assert other is not None
        assert one.state is other.state is RequestState.PREFILL
        assert one.cached_tokens == known
        assert one.cached_tokens < one.prefilled < one.prompt_tokens
        assert one.eta is not None
        assert other.eta is not None
        # Its turn comes after the first.
        assert 0 < one.eta < other.eta
        echo.open_gate()
        await asyncio.gather(first.reply(), second.reply())


async def test_the_board_tells_how_far_a_request_is() -> None:
    echo = gated(slots=1)
    async with hosting(echo) as host:
        first = await host.submit(asks("first", request_id="a"))
        second = await host.submit(asks("second", request_id="b"))
        await first.admitted()
        assert state_of(host, "a") is RequestState.PREFILL
        assert state_of(host, "b") is RequestState.QUEUED
        echo.allow(2)
        await until(lambda: state_of(host, "a") is RequestState.DECODE)
        rows = host.snapshot().requests
        assert rows[0].prompt_tokens == rows[0].prefilled
        echo.open_gate()
        await asyncio.gather(first.reply(), second.reply())
        assert host.snapshot().requests == ()
