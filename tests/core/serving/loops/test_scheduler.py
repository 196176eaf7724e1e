"""The loop, through a host, on echo models that step only when told to."""

import asyncio

import pytest

from core.errors import ContextExceeded, RequestError
from core.events import FinishReason, TextDelta
from core.requests import LineBounds, RawText, RawTokens, Sampling
from core.snapshots import RequestState
from tests.core.serving.loops.hosted_echo import gated, hosting, model, state_of, until
from tests.fakes.support import asks


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
