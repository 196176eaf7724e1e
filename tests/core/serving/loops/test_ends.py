"""How requests end that are not answered: cancelled, failed with their engine, or still there when the model goes."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.engines.echo import EchoModel
from core.errors import Cancelled, EngineFailed, LoadFailed, ModelNotReady, QueueFull
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import ModelState, RequestState
from tests.core.serving.loops.hosted_echo import gated, hosting, state_of, until
from tests.fakes.support import asks


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
