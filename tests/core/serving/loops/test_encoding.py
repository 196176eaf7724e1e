"""The loop of an embedder, through a host, on a model that computes a pass only when it is let."""

import asyncio
from collections.abc import Callable

import pytest

from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.errors import Cancelled, EngineFailed, ModelNotReady, QueueFull, QueueTimeout, RequestError
from core.requests import Caller, Embedding, RawText, RawTokens, Transcription
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.stream import post_call
from core.settings.encoding import EncodingSettings
from core.snapshots import ModelState, RequestState
from core.tasks.embed import InputTooLong, unpack_vector
from tests.core.serving.loops.letters import BAD, Letters, embeds, flowing, fold, lengths, serving
from tests.fakes.support import asks

ONE = Caller(tenant="one")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


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


async def test_what_is_answered_together_wakes_the_front_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []

    def post(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
        woken.append(len(model.passes))
        post_call(loop, act)

    monkeypatch.setattr("core.serving.loops.outbox.post_call", post)
    model = Letters(batch=16)
    async with serving(model) as host:
        first = await host.submit(embeds("first"))
        await asyncio.to_thread(model.passing.wait)
        rest = [await host.submit(embeds(text)) for text in ("abcd", "efgh", "ijkl", "mnop")]
        model.open_gate()
        for stream in (first, *rest):
            await fold(stream)
    assert woken == [1, 2]


async def test_a_large_request_keeps_a_small_one_waiting_for_one_pass_only() -> None:
    model = Letters(batch=16)
    async with serving(model) as host:
        large = await host.submit(embeds(*(f"{number}xxxxxxx" for number in range(10))))
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
        with pytest.raises(InputTooLong, match="index 1 of `input` has 13 tokens and the model takes 12") as caught:
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


async def test_a_text_that_comes_again_is_not_computed_again_for_the_same_tenant() -> None:
    model = flowing()
    async with serving(model) as host:
        first = await fold(await host.submit(embeds("ab", "cd", caller=ONE)))
        again = await fold(await host.submit(embeds("cd", "new", "ab", caller=ONE)))
        other = await fold(await host.submit(embeds("ab", caller=Caller(tenant="two"))))
        plain = await fold(await host.submit(embeds("ab", caller=ONE, cache=False)))
        whole = await fold(await host.submit(embeds("ab", caller=ONE)))
    assert model.passes == [["ab", "cd"], ["new"], ["ab"], ["ab"]]
    assert [made.usage.cached_tokens for made in (first, again, other, plain, whole)] == [0, 4, 0, 0, 2]
    assert [made.usage.prompt_tokens for made in (first, again, other, plain, whole)] == [4, 7, 2, 2, 2]
    assert lengths(again) == [2, 3, 2]
    assert again.vectors[2] == first.vectors[0] == whole.vectors[0]


async def test_a_vector_in_the_cache_is_shortened_for_each_request_anew() -> None:
    async with serving(flowing()) as host:
        await fold(await host.submit(embeds("abc", dimensions=1)))
        made = await fold(await host.submit(embeds("abc")))
    assert lengths(made) == [3]


async def test_texts_that_are_alike_are_computed_once() -> None:
    model = flowing()
    async with serving(model) as host:
        made = await fold(await host.submit(embeds("ab", "cd", "ab", "ab")))
    assert model.passes == [["ab", "cd"]]
    assert (lengths(made), made.usage.prompt_tokens) == ([2, 2, 2, 2], 8)


async def test_those_that_were_served_together_are_waited_for_and_one_alone_is_not() -> None:
    model = Letters(batch=64)
    # A window so long that a test which had to wait for its end would fail by its time.
    async with serving(model, encoding=EncodingSettings(window=60_000, cache_size=0)) as host:
        alone = await host.submit(embeds("alone"))
        await asyncio.to_thread(model.passing.wait)
        both = [await host.submit(embeds(text)) for text in ("one", "two")]
        model.open_gate()
        for stream in (alone, *both):
            await fold(stream)
        assert model.passes == [["alone"], ["one", "two"]]
        first = await host.submit(embeds("three"))
        second = await host.submit(embeds("four"))
        await fold(first)
        await fold(second)
        assert model.passes[2:] == [["three", "four"]]
