"""The remote engine's requests and answers, with servers that behave and servers that do not."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from itertools import count

import pytest

from core.chat.openai_body import UNTOLD
from core.engines.remote import link as links
from core.engines.remote.answer import RemoteAnswer
from core.errors import EngineFailed, Overloaded, QueueTimeout, RequestError
from core.events import Failed, FinishReason, TextDelta, TokenLogprob
from core.requests import Caller, Conversation, RawText, RawTokens, Role, Sampling
from core.retry import Patience
from tests.core.engines.elsewhere import QUIET, ServerExchange, answer_fully, elsewhere, hosting
from tests.fakes.support import asks, said

# --- answering -------------------------------------------------------------------------------------------------------


async def test_an_answer_is_relayed_with_its_usage() -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        reply = await (await host.submit(QUIET)).reply()
    (choice,) = reply.choices
    assert (choice.text, choice.reason, choice.stop) == ("Héllo", FinishReason.STOP, None)
    usage = reply.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (9, 5, 4)
    assert reply.timings.prefill > 0
    assert server.asked[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize(("gap", "told"), [(0.01, 100.0), (0.00001, 0.0)])
def test_the_speed_of_an_answer_that_came_in_one_burst_is_not_told(gap: float, told: float) -> None:
    now = count(1.0, gap)
    answer = RemoteAnswer("there", 1, lambda: next(now))
    for _ in range(50):
        list(answer.read('{"choices": [{"index": 0, "delta": {"content": "word "}}]}'))
    list(answer.read('{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'))
    (end,) = answer.finish()
    assert end.timings.decode_rate(50) == pytest.approx(told)


async def test_what_was_not_said_is_left_to_the_server() -> None:
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        await (await host.submit(QUIET)).reply()
    assert server.bodies == [
        {
            "model": "far-model",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "hello"}],
        }
    ]


async def test_what_was_said_is_sent_also_where_it_is_neutral() -> None:
    sampling = Sampling(
        temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.1, repeat_last_n=32, presence_penalty=0.5,
        seed=7, logprobs=2, logit_bias=((3, float("-inf")),), typical_p=0.9,
    )  # fmt: skip
    prompt = Conversation((said("be short", Role.SYSTEM), said("hello")), {"enable_thinking": False})
    request = asks("", prompt=prompt, sampling=sampling, max_tokens=5, stop=("a", "b"), ignore_eos=True, cache=False)
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        await (await host.submit(request)).reply()
    (body,) = server.bodies
    assert body["messages"][0] == {"role": "system", "content": "be short"}
    expected = {
        "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.1, "repeat_last_n": 32,
        "presence_penalty": 0.5, "seed": 7, "logprobs": True, "top_logprobs": 2, "logit_bias": {"3": -100.0},
        "typical_p": 0.9, "max_tokens": 5, "stop": ["a", "b"], "ignore_eos": True, "cache_prompt": False,
        "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    assert "frequency_penalty" not in body


@pytest.mark.parametrize(("reason", "text"), [("length", "aé"), ("stop", "aé\ufffd\ufffd")])
async def test_replacements_that_a_server_writes_where_a_limit_cut_are_dropped(reason: str, text: str) -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.begin()
        for piece in ("a", "é\ufffd", "\ufffd"):
            await exchange.event({"choices": [{"index": 0, "text": piece}]})
        await exchange.event({"choices": [{"index": 0, "text": "", "finish_reason": reason}]})
        await exchange.raw(b"data: [DONE]\n\n")

    async with elsewhere(answer) as server, hosting(server.url) as host:
        reply = await (await host.submit(asks("x"))).reply()
    assert reply.choices[0].text == text


async def test_no_seed_that_a_server_reads_as_any_is_sent_for_a_choice() -> None:
    seeds = (-1, 2**32 - 1, 2**32 - 2, 2**63 - 1, 2**32 - 4)
    async with elsewhere(answer_fully) as server, hosting(server.url) as host:
        for seed in seeds:
            for n in (1, 2):
                with suppress(EngineFailed):
                    await (await host.submit(asks("x", sampling=Sampling(seed=seed), n=n))).reply()
    asked = [(body["seed"], body.get("n", 1)) for body in server.bodies]
    assert len(asked) == len(seeds) * 2
    assert all(first in range(2**32 - n) for first, n in asked)
    assert (2**32 - 4, 1) in asked


async def test_vllm_is_spoken_to_by_its_own_names() -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(200, {"data": [{"id": "far", "owned_by": "vllm", "max_model_len": 64}]})

    async with elsewhere(answer_fully, models) as server, hosting(server.url) as host:
        sampling = Sampling(repeat_penalty=1.1)
        await (await host.submit(asks("x", sampling=sampling, caller=Caller(tenant="t"), cache=False))).reply()
        with pytest.raises(RequestError, match="vLLM, which serves this model, has no `typical_p`"):
            await (await host.submit(asks("x", sampling=Sampling(typical_p=0.5)))).reply()
    (body,) = server.bodies
    assert (body["repetition_penalty"], body["cache_salt"]) == (1.1, "t")
    assert "repeat_penalty" not in body
    assert "cache_prompt" not in body


@pytest.mark.parametrize(
    ("prompt", "written"), [(RawText("Once"), "Once"), (RawTokens((1, 2, 3)), [1, 2, 3])], ids=["text", "tokens"]
)
async def test_raw_prompts_go_to_completions(prompt: RawText | RawTokens, written: object) -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.begin()
        logprobs = {
            "tokens": [" up", "on"],
            "token_logprobs": [-0.5, None],
            "top_logprobs": [{" by": -2.0, " up": -0.5}, None],
        }
        await exchange.event({"choices": [{"index": 0, "text": " upon", "logprobs": logprobs}]})
        await exchange.event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        await exchange.raw(b"data: [DONE]\n\n")

    async with elsewhere(answer) as server, hosting(server.url) as host:
        reply = await (await host.submit(asks("", prompt=prompt, sampling=Sampling(logprobs=2)))).reply()
    assert server.asked[-1].path == "/v1/completions"
    assert (server.bodies[0]["prompt"], server.bodies[0]["logprobs"]) == (written, 2)
    (choice,) = reply.choices
    assert (choice.text, choice.reason) == (" upon", FinishReason.LENGTH)
    first, second = choice.logprobs
    assert first == TokenLogprob(
        " up", b" up", -0.5, (TokenLogprob(" up", b" up", -0.5), TokenLogprob(" by", b" by", -2.0))
    )
    assert second.logprob == -9999.0
    assert reply.usage.completion_tokens == 2


async def test_logprobs_of_a_chat_keep_the_bytes_of_their_tokens() -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.begin()
        content = [{"token": "\ufffd", "logprob": -0.1, "bytes": [0xC3], "top_logprobs": []}]
        await exchange.text("", None, logprobs={"content": content})
        await exchange.text("é", "stop", logprobs={"content": [{"token": "\ufffd", "logprob": -0.2, "bytes": [0xA9]}]})

    async with elsewhere(answer) as server, hosting(server.url) as host:
        reply = await (await host.submit(QUIET)).reply()
    assert b"".join(logprob.data for logprob in reply.choices[0].logprobs).decode() == "é"


async def test_choices_are_told_apart_and_their_tokens_add_up() -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.begin()
        for index, text in ((1, "b"), (0, "a"), (1, "B")):
            await exchange.event({"choices": [{"index": index, "delta": {"content": text}}]})
        for index in (0, 1):
            await exchange.event({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]})
        await exchange.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 10}})

    async with elsewhere(answer) as server, hosting(server.url) as host:
        reply = await (await host.submit(asks("x", n=2, sampling=UNTOLD))).reply()
    assert [choice.text for choice in reply.choices] == ["a", "bB"]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 10)


async def test_a_stop_string_is_named_where_the_server_tells_it() -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.begin()
        await exchange.text("one ", "stop", stop_reason="END")

    async with elsewhere(answer) as server, hosting(server.url) as host:
        reply = await (await host.submit(QUIET)).reply()
    assert (reply.choices[0].reason, reply.choices[0].stop) == (FinishReason.STOP_SEQUENCE, "END")


# --- failing ---------------------------------------------------------------------------------------------------------


async def cut(exchange: ServerExchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    await exchange.raw(b'ff\r\ndata: {"choices":[{"delta":{"content":"hel"}}]}\n\n')


async def ended(exchange: ServerExchange) -> None:
    await exchange.begin()
    await exchange.text("hel")


async def hung_up(exchange: ServerExchange) -> None:
    """Answers nothing at all."""


async def error_amid(exchange: ServerExchange) -> None:
    await exchange.begin()
    await exchange.text("hel")
    await exchange.event({"error": {"message": "CUDA out of memory.", "type": "server_error"}})


async def garbage(exchange: ServerExchange) -> None:
    await exchange.begin()
    await exchange.raw(b"data: <b>hello\n\n")


async def html(exchange: ServerExchange) -> None:
    await exchange.send(200, "<html>", "text/html")


async def unstreamed_error(exchange: ServerExchange) -> None:
    await exchange.send(200, {"error": "model crashed"})


async def aborted(exchange: ServerExchange) -> None:
    await exchange.begin()
    await exchange.text("hel", "abort")


async def choice_too_many(exchange: ServerExchange) -> None:
    await exchange.begin()
    await exchange.event({"choices": [{"index": 5, "delta": {"content": "x"}}]})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (cut, "was lost before the answer was complete"),
        (ended, "ended before the answer was complete"),
        (hung_up, "was lost before the answer was complete"),
        (error_amid, r"failed amid its answer: CUDA out of memory\.$"),
        (garbage, "no part of an answer: '<b>hello'"),
        (html, "answered with text/html where a stream is due"),
        (unstreamed_error, "where a stream is due: model crashed"),
        (aborted, r"gave the answer up \(abort\)"),
        (choice_too_many, "not asked for"),
    ],
)
async def test_a_broken_answer_fails_its_request_with_one_sentence(
    answer: Callable[[ServerExchange], Awaitable[None]], says: str
) -> None:
    async with elsewhere(answer) as server, hosting(server.url) as host:
        stream = await host.submit(QUIET)
        with pytest.raises(EngineFailed, match=says):
            await stream.reply()
        assert host.snapshot().slots_used == 0


async def test_what_was_made_before_a_failure_is_told() -> None:
    read = asyncio.Event()

    async def answer(exchange: ServerExchange) -> None:
        await exchange.begin()
        await exchange.text("hel")
        await read.wait()
        await exchange.event({"error": {"message": "out of memory"}})

    async with elsewhere(answer) as server, hosting(server.url) as host:
        text, end = "", None
        async for batch in await host.submit(QUIET):
            for event in batch:
                match event:
                    case TextDelta():
                        text += event.text
                    case Failed(error=error):
                        end = error
            if text:
                read.set()
    assert text == "hel"
    assert isinstance(end, EngineFailed)


async def test_a_server_that_died_is_told_and_asked_again_when_it_is_back() -> None:
    async with AsyncExitStack() as stack:
        async with elsewhere() as server:
            host = await stack.enter_async_context(hosting(server.url))
        with pytest.raises(EngineFailed, match="cannot be reached"):
            await (await host.submit(QUIET)).reply()
        async with elsewhere(answer_fully, port=int(server.url.rpartition(":")[2])):
            assert (await (await host.submit(QUIET)).reply()).choices[0].text == "Héllo"


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (400, {"error": {"message": "top_k is unknown", "param": "top_k"}}, RequestError, "top_k is unknown"),
        (422, {"detail": [1]}, RequestError, r"refused the request \(422\)"),
        (401, {}, EngineFailed, "remote_api_key"),
        (404, {"detail": "Not Found"}, RequestError, "does not offer /v1/chat/completions"),
        (404, {"message": "The model `m` does not exist."}, EngineFailed, "The model `m` does not exist"),
        (500, {}, EngineFailed, r"failed \(500\)"),
        (504, {"error": {"message": "waited"}}, QueueTimeout, "gave up after 0 s: waited"),
    ],
)
async def test_a_refusal_is_told_before_the_request_counts_as_admitted(
    status: int, body: object, error: type[Exception], says: str
) -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.send(status, body)

    async with elsewhere(answer) as server, hosting(server.url) as host:
        stream = await host.submit(QUIET)
        with pytest.raises(error, match=says) as caught:
            await stream.admitted()
        assert len(server.bodies) == 1
    assert getattr(caught.value, "field", None) == ("top_k" if status == 400 else None)


@pytest.mark.parametrize("status", [503, 429])
async def test_a_busy_server_is_asked_again_when_it_says(status: int) -> None:
    async def answer(exchange: ServerExchange) -> None:
        if len(server.bodies) < 3:
            await exchange.send(status, {"error": {"message": "busy"}}, retry_after="0")
        else:
            await answer_fully(exchange)

    async with elsewhere(answer) as server, hosting(server.url) as host:
        reply = await (await host.submit(QUIET)).reply()
    assert reply.choices[0].text == "Héllo"
    assert len(server.bodies) == 3


async def test_a_server_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "PATIENCE", Patience(first=0.001, attempts=6))

    async def answer(exchange: ServerExchange) -> None:
        await exchange.send(503, {"error": {"message": "The queue is full."}})

    async with elsewhere(answer) as server, hosting(server.url) as host:
        with pytest.raises(Overloaded, match=r"too busy to answer \(503\): The queue is full\.$"):
            await (await host.submit(QUIET)).reply()
    assert len(server.bodies) == 6


async def test_a_server_that_wants_too_much_patience_is_given_up_at_once() -> None:
    async def answer(exchange: ServerExchange) -> None:
        await exchange.send(503, {}, retry_after="3600")

    async with elsewhere(answer) as server, hosting(server.url) as host:
        with pytest.raises(Overloaded):
            await (await host.submit(QUIET)).reply()
    assert len(server.bodies) == 1
