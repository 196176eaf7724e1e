"""The loop of an embedder, through a host, on a model that computes a pass only when it is let."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from core.contract.models import Embedder, ModelSpec
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.errors import Cancelled, EngineFailed, Interrupted, ModelNotReady, QueueFull, QueueTimeout, RequestError
from core.events import Event
from core.requests import Embedding, RawText, RawTokens, Transcription
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.stream import Stream
from core.snapshots import ModelState, RequestState
from core.tasks.embed import Embeddings, InputTooLong, fold_embeddings, unpack_vector
from tests.fakes.support import asks

BAD = "!"


class Letters(Embedder):
    """Counts: the vector of a text is (its length, 1).

    Computes one pass for each `allow`, all once the gate is open.
    """

    def __init__(self, slots: int = 8, batch: int = 16) -> None:
        echo = EchoModel(LoadOptions()).spec
        self._spec = replace(echo, architecture="letters", slots=slots, batch=batch, context=12, cells=0)
        self._gate = threading.Semaphore(0)
        self._wide_open = threading.Event()
        self._interrupted = threading.Event()
        self.passing = threading.Event()
        self.passes: list[list[str]] = []
        self.closed = threading.Event()

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def width(self) -> int:
        return 2

    @property
    def vocabulary(self) -> int:
        return 256

    def encode(self, text: str, *, limit: int | None = None) -> list[int]:
        return list(text.encode())[:limit]

    def embed(self, inputs: Sequence[Sequence[int]]) -> Sequence[bytes]:
        self.passing.set()
        texts = [bytes(list(tokens)).decode() for tokens in inputs]
        self.passes.append(texts)
        while not self._wide_open.is_set() and not self._gate.acquire(timeout=0.005):
            if self._interrupted.is_set():
                raise Interrupted("The pass was interrupted.")
        if BAD in texts:
            raise EngineFailed("The pass failed.")
        from array import array

        return [array("f", (len(tokens), 1)).tobytes() for tokens in inputs]

    def interrupt(self, on: bool) -> None:
        if on:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def shutdown(self) -> None:
        self.closed.set()

    def allow(self, passes: int = 1) -> None:
        self._gate.release(passes)

    def open_gate(self) -> None:
        self._wide_open.set()
        self._gate.release()


def flowing(slots: int = 8, batch: int = 16) -> Letters:
    model = Letters(slots, batch)
    model.open_gate()
    return model


@asynccontextmanager
async def serving(model: Embedder, *, max_queue: int = 32, timeout: float = 60.0) -> AsyncIterator[Host]:
    host = Host(
        "letters", lambda *_: LoadedModel(model, "test"), max_queue=max_queue, queue_timeout=timeout, slots=None
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


def embeds(*texts: str, **fields: object) -> Embedding:
    return Embedding("letters", tuple(map(RawText, texts)), **fields)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def fold(stream: Stream) -> Embeddings:
    events: list[Event] = [event async for batch in stream for event in batch]
    return fold_embeddings(events)


def lengths(made: Embeddings) -> list[float]:
    return [unpack_vector(vector)[0] for vector in made.vectors]


async def test_vectors_come_in_the_order_of_the_inputs_whatever_the_order_of_computing() -> None:
    async with serving(flowing()) as host:
        stream = await host.submit(embeds("abc", "a", "abcdefgh", "ab", "abcdefghi"))
        made = await fold(stream)
        snapshot = host.snapshot()
    assert lengths(made) == [3, 1, 8, 2, 9]
    assert made.usage.prompt_tokens == stream.prompt_tokens == 23
    assert (snapshot.queue.total_processed, snapshot.slots_used, snapshot.requests) == (1, 0, ())


async def test_what_waits_together_is_computed_together() -> None:
    model = Letters(batch=16)
    async with serving(model) as host:
        first = await host.submit(embeds("first"))
        await asyncio.to_thread(model.passing.wait)
        rest = [await host.submit(embeds(text)) for text in ("abcd", "efgh", "ijkl", "mnop", "qrst")]
        model.open_gate()
        done = [await fold(stream) for stream in (first, *rest)]
    assert [lengths(made) for made in done] == [[5], *([[4]] * 5)]
    assert model.passes == [["first"], ["abcd", "efgh", "ijkl", "mnop"], ["qrst"]]


async def test_a_large_request_keeps_a_small_one_waiting_for_one_pass_only() -> None:
    model = Letters(batch=16)
    async with serving(model) as host:
        large = await host.submit(embeds(*["x" * 8] * 10))
        await asyncio.to_thread(model.passing.wait)
        small = await host.submit(embeds("small"))
        model.allow(2)
        assert lengths(await fold(small)) == [5]
        assert model.passes[1][0] == "small"
        (row,) = host.snapshot().requests
        assert (row.state, row.prompt_tokens) == (RequestState.PREFILL, 80)
        model.open_gate()
        assert lengths(await fold(large)) == [8] * 10


async def test_a_failed_pass_fails_its_requests_and_no_other() -> None:
    model = Letters(batch=4)
    async with serving(model) as host:
        first = await host.submit(embeds("wait"))
        await asyncio.to_thread(model.passing.wait)
        bad, good = await host.submit(embeds(BAD)), await host.submit(embeds("good"))
        model.open_gate()
        assert lengths(await fold(first)) == [4]
        with pytest.raises(EngineFailed, match="pass failed"):
            await fold(bad)
        assert lengths(await fold(good)) == [4]
        assert host.state is ModelState.READY
        assert lengths(await fold(await host.submit(embeds("more")))) == [4]


async def test_cancelling_cuts_the_pass_short_or_empties_the_queue() -> None:
    model = Letters(slots=1)
    async with serving(model) as host:
        running = await host.submit(embeds("running", request_id="r"))
        await asyncio.to_thread(model.passing.wait)
        waiting = await host.submit(embeds("waiting", request_id="w"))
        assert [row.state for row in host.snapshot().requests] == [RequestState.PREFILL, RequestState.QUEUED]
        assert host.cancel("w")
        assert host.cancel("r")
        for stream in (running, waiting):
            with pytest.raises(Cancelled):
                await fold(stream)
        await until(lambda: host.snapshot().slots_used == 0)
        model.open_gate()
        assert lengths(await fold(await host.submit(embeds("after")))) == [5]
        assert host.snapshot().queue.total_cancelled == 2


async def test_one_of_a_pass_may_leave_without_harm_to_the_others() -> None:
    model = Letters()
    async with serving(model) as host:
        first = await host.submit(embeds("first"))
        await asyncio.to_thread(model.passing.wait)
        leaves, stays = await host.submit(embeds("ab", request_id="l")), await host.submit(embeds("cd"))
        model.allow()
        await until(lambda: len(model.passes) == 2)
        host.cancel("l")
        model.open_gate()
        assert lengths(await fold(first)) == [5]
        assert lengths(await fold(stays)) == [2]
        with pytest.raises(Cancelled):
            await fold(leaves)


async def test_a_full_queue_refuses_and_a_wait_too_long_ends() -> None:
    model = Letters(slots=1)
    async with serving(model, max_queue=1, timeout=0.05) as host:
        running = await host.submit(embeds("running"))
        await asyncio.to_thread(model.passing.wait)
        waiting = await host.submit(embeds("waiting"))
        with pytest.raises(QueueFull):
            await host.submit(embeds("too many"))
        with pytest.raises(QueueTimeout):
            await fold(waiting)
        model.open_gate()
        assert lengths(await fold(running)) == [7]


async def test_stopping_fails_what_runs_and_waits_and_frees_the_model() -> None:
    model = Letters(slots=1)
    async with serving(model) as host:
        streams = [await host.submit(embeds("one")), await host.submit(embeds("two"))]
        await asyncio.to_thread(model.passing.wait)
        await host.stop()
        for stream in streams:
            with pytest.raises(ModelNotReady, match="unloaded"):
                await fold(stream)
        assert model.closed.is_set()


async def test_fewer_dimensions_are_brought_to_length_one() -> None:
    async with serving(flowing()) as host:
        made = await fold(await host.submit(embeds("abc", dimensions=1)))
        assert [list(unpack_vector(vector)) for vector in made.vectors] == [[1.0]]
        with pytest.raises(RequestError, match="from 1 to 2") as caught:
            await host.submit(embeds("abc", dimensions=3))
    assert caught.value.field == "dimensions"


async def test_what_is_too_long_is_refused_by_its_index_or_cut_when_asked() -> None:
    long = "x" * 13
    async with serving(flowing()) as host:
        with pytest.raises(InputTooLong, match="index 1 has 13 tokens and the model takes 12") as caught:
            await host.submit(embeds("short", long))
        assert caught.value.field == "input[1]"
        made = await fold(await host.submit(embeds("short", long, truncate=True)))
        assert lengths(made) == [5, 12]
        tokens = Embedding("letters", (RawTokens(tuple(long.encode())),), truncate=True)
        assert lengths(await fold(await host.submit(tokens))) == [12]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ((), "input"),
        ((RawText("a"), RawText("")), "input[1]"),
        ((RawTokens(()),), "input[0]"),
        ((RawTokens((1, 256)),), "input[0]"),
        ((RawTokens((-1,)),), "input[0]"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_field(inputs: tuple[RawText | RawTokens, ...], field: str) -> None:
    async with serving(flowing()) as host:
        with pytest.raises(RequestError) as caught:
            await host.submit(Embedding("letters", inputs))
        assert caught.value.field == field
        assert host.snapshot().queue.pending == 0


async def test_a_request_of_another_kind_is_told_where_the_model_is_asked() -> None:
    async with serving(flowing()) as host:
        with pytest.raises(RequestError, match="makes embeddings and cannot generate text.*/v1/embeddings"):
            await host.submit(asks("hello"))
        with pytest.raises(RequestError, match="cannot transcribe speech"):
            await host.submit(Transcription("letters", b""))
        with pytest.raises(RequestError, match="decodes no tokens"):
            _ = host.vocabulary


async def test_a_chat_model_says_that_it_makes_no_embeddings() -> None:
    host = Host(
        "echo", lambda *_: LoadedModel(EchoModel(LoadOptions()), "echo"), max_queue=1, queue_timeout=1, slots=None
    )
    host.start()
    with pytest.raises(RequestError, match="generates text and cannot make embeddings.*/v1/chat/completions"):
        await host.submit(embeds("hello"))
    await host.stop()
