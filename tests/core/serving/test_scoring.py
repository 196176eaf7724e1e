"""How likely a prompt's own tokens are, through a host: on echo models, and on one whose probabilities differ."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from core.contract.options import LoadOptions
from core.contract.step import Step, StepLogprob, TokenText, Work
from core.engines.echo import EchoModel
from core.events import Finished, FinishReason, PromptScored
from core.requests import Generation, RawText, SamplingWish
from core.serving.scoring import allow_token
from tests.core.serving.loops.hosted_echo import hosting
from tests.fakes.support import GatedEcho, asks

TOLD = SamplingWish(logprobs=1)


class CountingEcho(EchoModel):
    """Each token is as likely as its number and its place say, whatever is drawn."""

    def __init__(self, slots: int = 4, context: int = 512) -> None:
        super().__init__(LoadOptions(slots=slots, ctx_size=context))
        self.rows: list[int] = []

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        self.rows += [1 + len(item.draft) for item in work if item.draft]
        before = [len(self._sequences[item.sequence].tokens) + len(item.tokens) for item in work]
        steps = super().step(work)
        return [
            Step(step.tokens, tuple(self._score(token, place + at) for at, token in enumerate(step.tokens)))
            if step.logprobs
            else step
            for step, place in zip(steps, before, strict=True)
        ]

    def _score(self, token: int, place: int) -> StepLogprob:
        return StepLogprob(-token - place / 1000, (TokenText(token, -token - place / 1000),))


def scored(text: str, **fields: object) -> Generation:
    asked = asks("", prompt=RawText(text), sampling=TOLD, tell_prompt=True)
    return replace(asked, **fields)


async def test_each_token_of_a_prompt_but_the_first_is_scored_once_and_in_order() -> None:
    text = "how likely is a prompt of some sixty tokens, all of them known?"
    model = CountingEcho()
    async with hosting(model) as host:
        events = [event async for batch in await host.submit(scored(text, max_tokens=4)) for event in batch]
    told = events[0]
    assert isinstance(told, PromptScored)
    assert told.first == "h"
    assert [each.data for each in told.logprobs] == [bytes((byte,)) for byte in text.encode()[1:]]
    assert [each.logprob for each in told.logprobs] == [
        pytest.approx(-byte - place / 1000) for place, byte in enumerate(text.encode()) if place
    ]
    assert all(each.top[0].token == each.token for each in told.logprobs)
    assert sum(isinstance(event, PromptScored) for event in events) == 1
    # Many in one pass: the prompt was not written token by token.
    assert max(model.rows) > 8


async def test_the_answer_behind_a_scored_prompt_is_what_it_would_have_been() -> None:
    async with hosting(EchoModel(LoadOptions(slots=4, ctx_size=512))) as host:
        plain = await (await host.submit(asks("", prompt=RawText("abcdef"), n=2))).reply()
        reply = await (await host.submit(scored("abcdef", n=2))).reply()
        again = await (await host.submit(scored("abcdef", n=2))).reply()
    assert [choice.text for choice in reply.choices] == [choice.text for choice in plain.choices] == ["abcdef"] * 2
    assert [choice.text for choice in again.choices] == ["abcdef"] * 2
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (6, plain.usage.completion_tokens)
    # Nothing of it is taken from a cache.
    assert (again.usage.cached_tokens, plain.usage.cached_tokens) == (0, 0)


@pytest.mark.parametrize("text", ["abcdef", "a"])
async def test_with_no_new_tokens_the_prompt_alone_is_scored(text: str) -> None:
    async with hosting(EchoModel(LoadOptions(slots=1, ctx_size=128))) as host:
        events = [event async for batch in await host.submit(scored(text, max_tokens=0)) for event in batch]
    told, end = events
    assert isinstance(told, PromptScored)
    assert isinstance(end, Finished)
    assert "".join([told.first, *(each.token for each in told.logprobs)]) == text
    assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, 0)
    assert end.timings.prefill >= 0


async def test_with_no_new_tokens_a_prompt_is_computed_for_the_next_one() -> None:
    async with hosting(EchoModel(LoadOptions(slots=1, ctx_size=128))) as host:
        none = await (await host.submit(asks("", prompt=RawText("abcdefgh"), max_tokens=0))).reply()
        some = await (await host.submit(asks("", prompt=RawText("abcdefgh"), max_tokens=2))).reply()
    assert (none.choices[0].text, none.choices[0].reason) == ("", FinishReason.LENGTH)
    assert some.usage.cached_tokens == 7


async def test_prompts_that_are_scored_do_not_disturb_a_stream_beside_them() -> None:
    model = GatedEcho(LoadOptions(slots=3, ctx_size=512))
    async with hosting(model) as host:
        stream = await host.submit(asks("a stream that runs beside all of it", sampling=SamplingWish(logprobs=0)))
        others = [await host.submit(scored("x" * 90 + str(number), max_tokens=1)) for number in range(2)]
        model.open_gate()
        said = (await stream.reply()).choices[0]
        for other in others:
            events = [event async for batch in other for event in batch]
            assert isinstance(events[0], PromptScored)
            assert len(events[0].logprobs) == 90
    assert said.text == "a stream that runs beside all of it"


def test_a_mask_of_one_token_allows_that_one_alone() -> None:
    for token in (0, 7, 8, 257):
        bits = int.from_bytes(allow_token(token), "little")
        assert bits == 1 << token
