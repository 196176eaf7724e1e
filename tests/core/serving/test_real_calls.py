"""A real model with a tools template: what it is asked to call it calls, and never wrongly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import jsonschema
import pytest_asyncio

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.events import FinishReason, ReplyChoice
from core.requests import Calling, CallOf, Conversation, Generation, Message, SamplingWish, Tool
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.fakes.real_weights import QWEN, real_weights
from tests.fakes.support import said

WEATHER = Tool(
    "get_weather",
    "Get the current weather of a city.",
    '{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["celsius","fahrenheit"]}},'
    '"required":["city","unit"],"additionalProperties":false}',
)
ADD = Tool(
    "add",
    "Add two integers.",
    '{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"],'
    '"additionalProperties":false}',
)
QUESTION = "What is the weather in Berlin, in celsius?"
HOT = SamplingWish(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7)
GREEDY = SamplingWish(temperature=0.0)


@pytest_asyncio.fixture
async def qwen() -> AsyncIterator[Host]:
    path = real_weights(QWEN)
    options = LoadOptions(ctx_size=2048, slots=4, threads=1, extra_buffers=False)
    model = LlamaCppEngine().load(Artifact(path.stem, "gguf", path, path.stat().st_size), options)
    assert isinstance(model, TokenModel)
    host = Host("m", lambda *_: LoadedModel(model, "llamacpp"), max_queue=8, queue_timeout=600, slots=None)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def ask(host: Host, *messages: Message, **fields: object) -> tuple[ReplyChoice, ...]:
    fields.setdefault("sampling", GREEDY)
    prompt = Conversation(messages or (said(QUESTION),), tools=(WEATHER, ADD))
    request = Generation(model="m", prompt=prompt, max_tokens=48, **fields)  # type: ignore[arg-type]
    return (await (await host.submit(request)).reply()).choices


def check(choice: ReplyChoice) -> list[str]:
    """The names of the tools that were called; every call keeps to its schema."""
    schemas = {tool.name: json.loads(tool.parameters) for tool in (WEATHER, ADD)}
    for call in choice.tool_calls:
        jsonschema.validate(json.loads(call.arguments), schemas[call.name])
    return [call.name for call in choice.tool_calls]


async def test_a_real_model_calls_what_it_is_asked_to_and_never_wrongly(qwen: Host) -> None:
    (free,) = await ask(qwen)
    (named,) = await ask(qwen, tool_choice=CallOf("add"))
    assert set(check(free)) <= {"get_weather"}
    assert (check(named), named.text, named.reason) == (["add"], "", FinishReason.TOOL_CALLS)
    hot = await ask(qwen, said("Tell me a joke."), tool_choice=Calling.REQUIRED, n=3, sampling=HOT)
    whole = [choice for choice in hot if choice.reason is FinishReason.TOOL_CALLS]
    assert whole
    assert all(check(choice) and not choice.text for choice in whole)
    (quiet,) = await ask(qwen, tool_choice=Calling.NONE)
    assert (quiet.tool_calls, "<tool_call>" in quiet.text) == ((), False)
