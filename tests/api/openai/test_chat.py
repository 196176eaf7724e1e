"""Chat completions as the openai SDK meets them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import openai
import pytest
from openai.types.chat.chat_completion import ChoiceLogprobs
from openai.types.chat.chat_completion_chunk import ChoiceLogprobs as ChunkLogprobs
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob

from api.http.long_work import MANY_PARTS
from api.openai.chat import translate_request
from core.requests import Generation
from tests.api.conftest import Served, cached_of, text_of, usage_of, user

pytestmark = pytest.mark.asyncio(loop_scope="session")


def tokens_of(logprobs: ChoiceLogprobs | ChunkLogprobs | None) -> list[ChatCompletionTokenLogprob]:
    return [] if logprobs is None else logprobs.content or []


def said_by(tokens: list[ChatCompletionTokenLogprob]) -> bytes:
    return bytes(byte for token in tokens for byte in token.bytes or [])


async def test_an_unstreamed_reply_carries_text_finish_reason_and_usage(echo: Served) -> None:
    reply = await echo.complete()
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == "echo"
    assert reply.choices[0].message.content == "hello"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert usage_of(reply).completion_tokens == len("hello") + 1
    assert usage_of(reply).total_tokens == usage_of(reply).prompt_tokens + usage_of(reply).completion_tokens
    details = usage_of(reply).completion_tokens_details
    assert details is not None
    assert details.reasoning_tokens == 0


async def test_a_stream_says_the_same_as_the_unstreamed_reply(echo: Served) -> None:
    chunks = await echo.chunks()
    assert text_of(chunks) == "hello"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_first_chunk_carries_the_role_and_only_the_last_a_finish_reason(echo: Served) -> None:
    chunks = await echo.chunks()
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.role for chunk in chunks[1:]] == [None] * (len(chunks) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]


async def test_usage_comes_in_a_last_chunk_without_choices_when_asked_for(echo: Served) -> None:
    chunks = await echo.chunks(stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].object == "chat.completion.chunk"
    assert usage_of(chunks[-1]).completion_tokens == len("hello") + 1
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks[:-1])


async def test_usage_stands_in_no_chunk_when_not_asked_for(echo: Served) -> None:
    assert not any("usage" in chunk.model_fields_set for chunk in await echo.chunks())


async def test_the_last_chunk_of_a_choice_carries_timings(echo: Served) -> None:
    timings = (await echo.chunks())[-1].to_dict()["timings"]
    assert isinstance(timings, dict)
    assert timings["predicted_n"] == len("hello") + 1
    assert timings["prompt_n"] + timings["cache_n"] > 0
    assert timings.keys() >= {"prompt_ms", "prompt_per_second", "predicted_ms", "predicted_per_second", "queue_ms"}


async def test_a_repeated_prompt_is_told_as_cached(echo: Served) -> None:
    asked = user("a prompt of this test alone, asked twice")
    first = await echo.complete(messages=asked)
    second = await echo.complete(messages=asked)
    assert cached_of(second) > cached_of(first)
    assert usage_of(second).prompt_tokens == usage_of(first).prompt_tokens


async def test_two_choices_come_interleaved_and_end_each_for_itself(echo: Served) -> None:
    chunks = await echo.chunks(n=2, stream_options={"include_usage": True})
    assert text_of(chunks, 0) == text_of(chunks, 1) == "hello"
    ends = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ends) == [0, 1]
    roles = [choice.index for chunk in chunks for choice in chunk.choices if choice.delta.role]
    assert sorted(roles) == [0, 1]
    assert usage_of(chunks[-1]).completion_tokens == 2 * (len("hello") + 1)


async def test_two_unstreamed_choices_count_the_prompt_once(echo: Served) -> None:
    one = await echo.complete()
    two = await echo.complete(n=2)
    assert [choice.index for choice in two.choices] == [0, 1]
    assert usage_of(two).prompt_tokens == usage_of(one).prompt_tokens
    assert usage_of(two).completion_tokens == 2 * usage_of(one).completion_tokens


async def test_a_stop_string_is_cut_off_although_it_spans_tokens(echo: Served) -> None:
    asked = user("one two three")
    reply = await echo.complete(messages=asked, stop=[" thr", "never"])
    assert reply.choices[0].message.content == "one two"
    assert reply.choices[0].finish_reason == "stop"
    assert text_of(await echo.chunks(messages=asked, stop=" thr")) == "one two"


async def test_max_tokens_ends_with_length(echo: Served) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        reply = await echo.complete(**{name: 3})
        assert reply.choices[0].message.content == "hel"
        assert reply.choices[0].finish_reason == "length"
        assert usage_of(reply).completion_tokens == 3


async def test_logprobs_come_with_bytes_and_the_likeliest(echo: Served) -> None:
    reply = await echo.complete(messages=user("hé"), logprobs=True, top_logprobs=1)
    content = tokens_of(reply.choices[0].logprobs)
    assert said_by(content) == "hé".encode()
    assert content[0].token == "h"
    assert content[0].logprob == 0.0
    assert content[0].top_logprobs[0].token == "h"


async def test_streamed_logprobs_cover_the_same_tokens(echo: Served) -> None:
    chunks = await echo.chunks(logprobs=True)
    tokens = [token for chunk in chunks for token in tokens_of(chunk.choices[0].logprobs)]
    assert said_by(tokens) == b"hello"
    assert text_of(chunks) == "hello"


async def test_logprobs_are_null_when_not_asked_for(echo: Served) -> None:
    reply = await echo.complete()
    assert reply.choices[0].logprobs is None


async def test_a_character_of_many_tokens_arrives_whole(echo: Served) -> None:
    asked = user("naïve 🦙 日本")
    chunks = await echo.chunks(messages=asked)
    assert text_of(chunks) == "naïve 🦙 日本"
    assert "\ufffd" not in text_of(chunks)


async def test_content_may_be_a_list_of_text_parts(echo: Served) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    reply = await echo.complete(messages=user(parts))
    assert reply.choices[0].message.content == "one \ntwo"


async def test_every_role_and_additive_field_is_taken(echo: Served) -> None:
    response = await echo.chat(
        messages=[
            {"role": "system", "content": "s"},
            {"role": "developer", "content": "d"},
            {"role": "user", "content": "u", "name": "ann"},
            {"role": "assistant", "content": None, "refusal": None, "annotations": []},
            {"role": "tool", "content": "t", "tool_call_id": "x"},
            {"role": "user", "content": "last"},
        ],
        user="u",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        tools=[],
        tool_choice="auto",
        response_format={"type": "text"},
        modalities=["text"],
        prediction=None,
        chat_template_kwargs={"enable_thinking": False},
        top_k=-1,
        min_p=0.1,
        typical_p=1.0,
        repeat_penalty=1.1,
        repeat_last_n=64,
        cache_prompt=False,
        logit_bias={"65": -100},
        seed=-1,
    )
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == "last"


async def test_a_long_conversation_is_translated_off_the_event_loop(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def translate(*given: Any, **named: Any) -> Generation:
        threads.append(threading.get_ident())
        return translate_request(*given, **named)

    monkeypatch.setattr("api.openai.chat.translate_request", translate)
    part = {"type": "text", "text": ""}
    for messages in (user("a"), user("a") * (MANY_PARTS + 1), user([part] * (MANY_PARTS + 1))):
        counted = await echo.http.post("/v1/chat/completions/input_tokens", json={"messages": messages})
        assert counted.status_code == 200, counted.text
    here = threading.get_ident()
    assert [each == here for each in threads] == [True, False, False]


async def test_thirty_two_clients_at_once_get_each_their_own_answer(echo: Served) -> None:
    async def ask(i: int) -> bool:
        said = f"client {i} says this and nothing else"
        chunks = await echo.chunks(messages=user(said))
        return text_of(chunks) == said

    assert all(await asyncio.gather(*(ask(i) for i in range(32))))


async def test_an_unknown_model_is_not_found_and_the_error_says_what_there_is(echo: Served) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await echo.complete(model="gpt-5")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "echo" in caught.value.message


async def test_a_prompt_longer_than_the_context_is_refused_by_its_size(echo: Served) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await echo.complete(messages=user("x" * 9000))
    assert caught.value.code == "context_length_exceeded"
    assert "8192" in caught.value.message


async def test_a_full_context_ends_with_length(echo: Served) -> None:
    asked = user("x" * 5000)
    reply = await echo.complete(messages=asked)
    assert reply.choices[0].finish_reason == "length"


async def test_the_same_seed_draws_the_same_tokens(guide: Served) -> None:
    # A cached prefix leaves a smaller batch to compute, whose rounding may differ; so hot a draw would show it.
    async def draw(seed: int) -> str:
        reply = await guide.complete(
            model="guide",
            messages=user("What is a KV cache?"),
            seed=seed,
            temperature=2.0,
            max_tokens=24,
            extra_body={"top_k": 0, "min_p": 0.0, "top_p": 1.0, "cache_prompt": False},
        )
        return reply.choices[0].message.content or ""

    first, again = await draw(7), await draw(7)
    assert first == again
    assert len({first, await draw(8), await draw(9)}) > 1


async def test_guide_answers_streaming_and_not_with_the_same_greedy_text(guide: Served) -> None:
    asked = {"model": "guide", "messages": user("What is a KV cache?"), "temperature": 0}
    reply = await guide.complete(**asked)
    assert reply.choices[0].message.content
    assert text_of(await guide.chunks(**asked)) == reply.choices[0].message.content
