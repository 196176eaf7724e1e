"""The relay, through a host, on models that schedule themselves and yield only when told to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest
from msgspec.structs import replace

from core.contract.models import ModelSpec, StreamModel
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.errors import Cancelled, EngineFailed, LoadFailed, ModelNotReady, QueueFull, QueueTimeout, RequestError
from core.events import Event, Failed, Finished, FinishReason, TextDelta, Timings, Usage
from core.requests import Conversation, Generation
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import ModelState, RequestState
from tests.fakes.support import asks


def asked(request: Generation) -> str:
    assert isinstance(request.prompt, Conversation)
    return request.prompt.messages[-1].text


class Scripted(StreamModel):
    """Says again what it was asked, a character an event, one event for each `allow`; all once the gate is open."""

    def __init__(self, slots: int = 1) -> None:
        self._spec = replace(EchoModel(LoadOptions(slots=slots)).spec, architecture="scripted", context=0)
        self._gate = threading.Semaphore(0)
        self._wide_open = threading.Event()
        self.begun: list[str] = []
        self.closed = threading.Event()

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def allow(self, events: int = 1) -> None:
        self._gate.release(events)

    def open_gate(self) -> None:
        self._wide_open.set()
        self._gate.release()

    def generate(self, request: Generation, stop: threading.Event) -> Iterator[Event]:
        text = asked(request)
        self.begun.append(text)
        for index in range(request.n):
            for letter in text:
                self._wait(stop)
                yield TextDelta(index, letter)
        for index in range(request.n):
            usage = Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=len(text))
            yield Finished(index, FinishReason.STOP, usage, Timings(prefill=0.5))

    def shutdown(self) -> None:
        self.closed.set()

    def _wait(self, stop: threading.Event) -> None:
        while not self._wide_open.is_set() and not self._gate.acquire(timeout=0.005):
            if stop.is_set():
                raise Cancelled


def flowing(slots: int = 1) -> Scripted:
    model = Scripted(slots)
    model.open_gate()
    return model


@asynccontextmanager
async def relaying(model: StreamModel, *, max_queue: int = 32, timeout: float = 60.0) -> AsyncIterator[Host]:
    host = Host(
        "far", lambda *_: LoadedModel(model, "scripted"), max_queue=max_queue, queue_timeout=timeout, slots=None
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_context_that_nobody_told_is_unknown_and_not_zero() -> None:
    async with relaying(flowing()) as host:
        assert (host.snapshot().state, host.snapshot().context) == (ModelState.READY, None)


async def test_a_request_is_answered_with_usage_and_timings() -> None:
    async with relaying(flowing()) as host:
        stream = await host.submit(asks("hello"))
        reply = await stream.reply()
        snapshot = host.snapshot()
    assert stream.prompt_tokens == 0
    assert reply.choices[0].text == "hello"
    assert reply.usage == Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=5)
    assert reply.timings.queued > 0
    assert reply.timings.prefill == 0.5
    assert (snapshot.state, snapshot.architecture) == (ModelState.READY, "scripted")
    assert (snapshot.queue.total_processed, snapshot.slots_used, snapshot.requests) == (1, 0, ())
    assert (snapshot.cache.lookups, snapshot.cache.hits, snapshot.cache.cached_tokens) == (1, 1, 3)


async def test_every_choice_comes_to_its_end() -> None:
    async with relaying(flowing()) as host:
        reply = await (await host.submit(asks("abc", n=3))).reply()
    assert [choice.text for choice in reply.choices] == ["abc"] * 3
    assert reply.usage.completion_tokens == 9


async def test_nothing_is_tokenised_here() -> None:
    async with relaying(flowing()) as host:
        with pytest.raises(RequestError, match="cannot count"):
            await host.reader()
        with pytest.raises(RequestError, match="cannot be measured"):
            _ = host.vocabulary


async def test_requests_are_taken_in_order_and_as_many_at_once_as_there_are_slots() -> None:
    far = Scripted(slots=2)
    async with relaying(far) as host:
        streams = [await host.submit(asks(f"number {i}")) for i in range(6)]
        await until(lambda: len(far.begun) == 2)
        await asyncio.sleep(0.02)
        snapshot = host.snapshot()
        assert (snapshot.slots_used, snapshot.queue.pending) == (2, 4)
        far.open_gate()
        await asyncio.gather(*(stream.reply() for stream in streams))
    assert sorted(far.begun[:2]) == ["number 0", "number 1"]
    assert sorted(far.begun) == [f"number {i}" for i in range(6)]


async def test_with_one_slot_the_queue_is_first_in_first_out() -> None:
    far = flowing()
    async with relaying(far) as host:
        streams = [await host.submit(asks(str(i))) for i in range(20)]
        await asyncio.gather(*(stream.reply() for stream in streams))
    assert far.begun == [str(i) for i in range(20)]


async def test_a_full_queue_refuses_at_once() -> None:
    far = Scripted()
    async with relaying(far, max_queue=1) as host:
        running = await host.submit(asks("one"))
        await until(lambda: host.snapshot().slots_used == 1)
        waiting = await host.submit(asks("two"))
        with pytest.raises(QueueFull, match="1 requests are waiting"):
            await host.submit(asks("three"))
        assert host.snapshot().queue.total_rejected == 1
        far.open_gate()
        await asyncio.gather(running.reply(), waiting.reply())


async def test_waiting_too_long_in_the_queue_is_told_and_only_there() -> None:
    far = Scripted()
    async with relaying(far, timeout=0.05) as host:
        running = await host.submit(asks("one"))
        await until(lambda: host.snapshot().slots_used == 1)
        waiting = await host.submit(asks("two"))
        answered = asyncio.create_task(running.reply())
        with pytest.raises(QueueTimeout, match="in the queue"):
            await waiting.admitted()
        assert host.snapshot().queue.total_timed_out == 1
        far.open_gate()
        assert (await answered).choices[0].text == "one"
    assert far.begun == ["one"]


async def test_cancelling_in_the_queue_takes_the_request_out() -> None:
    far = Scripted()
    async with relaying(far) as host:
        running = await host.submit(asks("one"))
        await until(lambda: host.snapshot().slots_used == 1)
        waiting = await host.submit(asks("two", request_id="second"))
        assert host.cancel("second")
        assert not host.cancel("unknown")
        with pytest.raises(Cancelled):
            await waiting.admitted()
        assert host.snapshot().queue.pending == 0
        far.open_gate()
        await running.reply()
        assert (await (await host.submit(asks("three"))).reply()).choices[0].text == "three"
        assert host.snapshot().queue.total_cancelled == 1
    assert far.begun == ["one", "three"]


async def test_cancelling_in_flight_stops_the_model_and_frees_the_slot() -> None:
    far = Scripted()
    async with relaying(far) as host:
        stream = await host.submit(asks("a long answer"))
        far.allow(3)
        await until(lambda: any(row.completion_tokens == 3 for row in host.snapshot().requests))
        waiting = await host.submit(asks("next"))
        stream.cancel()
        with pytest.raises(Cancelled):
            await stream.reply()
        await until(lambda: far.begun == ["a long answer", "next"])
        far.open_gate()
        assert (await waiting.reply()).choices[0].text == "next"
        stats = host.snapshot().queue
    assert (stats.total_cancelled, stats.total_processed) == (1, 1)


async def test_leaving_a_stream_early_cancels_it() -> None:
    far = Scripted()
    async with relaying(far) as host:
        stream = await host.submit(asks("a long answer"))
        far.allow(2)
        async with aclosing(aiter(stream)) as batches:
            await anext(batches)
        await until(lambda: host.snapshot().queue.total_cancelled == 1)


async def test_what_gathers_while_the_event_loop_is_busy_comes_in_one_batch() -> None:
    far = flowing()
    async with relaying(far) as host:
        stream = await host.submit(asks("x" * 500))
        await until(lambda: far.begun != [])
        # The event loop stands still, as it does under load.
        threading.Event().wait(0.2)
        batches = [batch async for batch in stream]
    assert sum(len(batch) for batch in batches) == 501
    assert len(batches) < 50


async def test_the_board_tells_how_far_a_request_is() -> None:
    far = Scripted()
    async with relaying(far) as host:
        first = await host.submit(asks("first", request_id="a"))
        second = await host.submit(asks("second", request_id="b"))
        await until(lambda: far.begun == ["first"])
        assert [row.state for row in host.snapshot().requests] == [RequestState.PREFILL, RequestState.QUEUED]
        far.allow(2)
        await until(lambda: host.snapshot().requests[0].completion_tokens == 2)
        row = host.snapshot().requests[0]
        assert (row.id, row.state, row.prompt_tokens, row.eta) == ("a", RequestState.DECODE, 0, None)
        far.open_gate()
        await asyncio.gather(first.reply(), second.reply())


class Wayward(Scripted):
    """Fails in the way it is asked for."""

    def generate(self, request: Generation, stop: threading.Event) -> Iterator[Event]:
        match asked(request):
            case "fault":
                yield TextDelta(0, "a")
                raise ZeroDivisionError("a fault in native code")
            case "refused":
                raise RequestError("No such field.", "top_k")
            case "failed":
                yield TextDelta(0, "a")
                yield Failed(EngineFailed("The line is dead."))
                yield TextDelta(0, "never told")
            case "unfinished":
                yield TextDelta(0, "a")
            case _:
                yield from super().generate(request, stop)


async def test_a_failure_fails_its_request_alone() -> None:
    far = Wayward(slots=2)
    far.allow(2)
    async with relaying(far) as host:
        other = await host.submit(asks("other"))
        for question, says in (
            ("fault", "a fault in native code"),
            ("failed", "The line is dead"),
            ("unfinished", "without saying why"),
        ):
            with pytest.raises(EngineFailed, match=says):
                await (await host.submit(asks(question))).reply()
        far.open_gate()
        assert (await other.reply()).choices[0].text == "other"
        assert host.state is ModelState.READY
        stats = host.snapshot().queue
    assert (stats.total_processed, stats.total_cancelled) == (4, 0)


async def test_what_the_model_refuses_is_told_before_the_request_counts_as_admitted() -> None:
    async with relaying(Wayward()) as host:
        stream = await host.submit(asks("refused"))
        with pytest.raises(RequestError, match="No such field") as caught:
            await stream.admitted()
    assert caught.value.field == "top_k"


async def test_unloading_fails_what_is_running_and_waiting_and_frees_the_model() -> None:
    far = Scripted()
    async with relaying(far) as host:
        running = await host.submit(asks("one"))
        waiting = await host.submit(asks("two"))
        await until(lambda: far.begun == ["one"])
        await host.stop()
        for stream in (running, waiting):
            with pytest.raises(ModelNotReady, match="being unloaded"):
                await stream.reply()
        with pytest.raises(ModelNotReady):
            await host.submit(asks("three"))
    assert far.closed.is_set()
    assert far.begun == ["one"]


async def test_requests_wait_while_the_model_loads_and_stopping_meanwhile_ends_it() -> None:
    proceed = threading.Event()
    far = flowing()

    def load(*_: object) -> LoadedModel:
        proceed.wait()
        return LoadedModel(far, "scripted")

    host = Host("far", load, max_queue=2, queue_timeout=60, slots=1)
    host.start()
    waiting = asyncio.create_task(host.submit(asks("one")))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(host.stop())
    await asyncio.sleep(0)
    proceed.set()
    await stopping
    with pytest.raises((ModelNotReady, LoadFailed)):
        await (await waiting).reply()
    assert far.closed.is_set()
