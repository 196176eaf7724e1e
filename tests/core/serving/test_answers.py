"""Answers of served models with thoughts and calls of tools: from tokens to events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.chat.chatml import CHATML_WITH_TOOLS
from core.chat.parsers.response_schema import ResponseSchema
from core.contract.options import LoadOptions
from core.decoding.masks.tools import MOST_FREE_TOOLS
from core.engines.echo import EchoModel, Script
from core.events import Event, FinishReason, Reply, SoFar, TextDelta, fold_events
from core.requests import Calling, Conversation, Generation, ReasoningWish, SamplingWish, Tool
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.settings.schema import AnswerSettings
from tests.fakes.support import said

NOW = Tool("now", "The time.", '{"type":"object","properties":{"zone":{"type":"string"}}}')
MANY = tuple(Tool(f"tool{number}") for number in range(MOST_FREE_TOOLS))
"""So many that nothing holds a model's calls to their form."""
CALL = '<tool_call>\n{"name": "now", "arguments": {"zone": "CET"}}\n</tool_call>'


@asynccontextmanager
async def serving(
    script: Script, schema: ResponseSchema | None = None, answers: AnswerSettings = AnswerSettings()
) -> AsyncIterator[Host]:
    model = EchoModel(LoadOptions(ctx_size=65_536), script, CHATML_WITH_TOOLS)
    loaded = LoadedModel(model, "echo", schema=schema)
    host = Host("m", lambda *_: loaded, max_queue=32, queue_timeout=60.0, slots=None, answers=answers)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


def asks_tools(text: str, *tools: Tool, **fields: object) -> Generation:
    arguments = {"template_arguments": fields.pop("template_arguments", {})}
    prompt = Conversation((said(text),), tools=tools, **arguments)  # type: ignore[arg-type]
    return Generation(model="m", prompt=prompt, request_id="r", **fields)  # type: ignore[arg-type]


async def events_of(host: Host, request: Generation) -> list[Event]:
    return [event async for batch in await host.submit(request) for event in batch]


async def reply_of(host: Host, request: Generation) -> Reply:
    return fold_events(await events_of(host, request))


async def test_a_thought_a_text_and_a_call_are_told_apart() -> None:
    async with serving(lambda _: f"<think>\nhm\n</think>\n\nLet me see.\n{CALL}") as host:
        reply = await reply_of(host, asks_tools("what time is it?", NOW, n=2))
        for choice in reply.choices:
            (call,) = choice.tool_calls
            assert (choice.reasoning, choice.text, choice.reason) == ("hm", "Let me see.", FinishReason.TOOL_CALLS)
            assert (call.name, call.arguments) == ("now", '{"zone": "CET"}')
            assert call.id.startswith("call_")
            assert len(call.id) == 29
        assert len({choice.tool_calls[0].id for choice in reply.choices}) == 2
        assert reply.usage.completion_tokens > reply.usage.reasoning_tokens > 2 * len("hm\n</think>")


async def test_without_tools_a_call_is_text() -> None:
    async with serving(lambda _: CALL) as host:
        assert (await reply_of(host, asks_tools("hello"))).choices[0].text == CALL
        choice = (await reply_of(host, asks_tools("hello", NOW, tool_choice=Calling.NONE))).choices[0]
        assert (choice.text, choice.reason) == (CALL, FinishReason.STOP)


async def test_a_thought_may_be_left_in_the_text() -> None:
    async with serving(lambda _: f"<think>hm</think>\n{CALL}") as host:
        request = asks_tools("hello", NOW, reasoning=ReasoningWish(inline=True))
        choice = (await reply_of(host, request)).choices[0]
        assert (choice.text, choice.reasoning, len(choice.tool_calls)) == ("<think>hm</think>", "", 1)


async def test_where_the_template_writes_an_empty_thought_the_answer_follows() -> None:
    async with serving(lambda _: "fine") as host:
        request = asks_tools("hello", template_arguments={"enable_thinking": False})
        choice = (await reply_of(host, request)).choices[0]
        assert (choice.text, choice.reasoning) == ("fine", "")


async def test_the_board_tells_of_a_call_that_is_none() -> None:
    async with serving(lambda _: "<tool_call>oops") as host:
        choice = (await reply_of(host, asks_tools("hello", NOW, *MANY))).choices[0]
        row = host.row("r")
        assert choice.text == "<tool_call>oops"
        assert row is not None
        assert row.notes == ("A call is not written in JSON that can be read.",)


async def test_log_probabilities_are_those_of_the_words_alone() -> None:
    async with serving(lambda _: f"<think>hm</think>\n\na<b\n{CALL}") as host:
        request = asks_tools("hello", NOW, sampling=SamplingWish(logprobs=1))
        reply = await reply_of(host, request)
        assert "".join(each.token for each in reply.choices[0].logprobs) == reply.choices[0].text == "a<b"


async def test_reasoning_tokens_are_counted_while_the_answer_is_written() -> None:
    async with serving(lambda _: "<think>hm</think>yes") as host:
        events = await events_of(host, asks_tools("hello", tell_timings=True))
        told = [event.so_far for event in events if isinstance(event, TextDelta)]
        assert told
        assert all(isinstance(each, SoFar) and each.usage.reasoning_tokens == 11 for each in told)


async def test_a_response_schema_goes_before_the_models_family() -> None:
    schema = ResponseSchema(
        '{"type": "object", "properties": {"content": {"type": "string", "x-regex": "<(.*?)>"}, "thinking": '
        '{"type": "string", "x-regex": "^(.*?)<"}}}'
    )
    async with serving(lambda _: "hm<yes>no", schema) as host:
        choice = (await reply_of(host, asks_tools("hello"))).choices[0]
        assert (choice.reasoning, choice.text) == ("hm", "yes")
