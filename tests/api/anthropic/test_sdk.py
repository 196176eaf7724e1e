"""Anthropic's own SDK for Python against a served model; replies and events are of its types, to the letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel, TypeAdapter

from api.anthropic.writer import MessagesDialect
from core.settings.schema import ServerSettings
from tests.api.anthropic.conftest import WEATHER, message_body, post_message, read_events
from tests.api.anthropic.test_writer import ANSWER
from tests.api.conftest import PATIENCE, Served, serving, settings_of, user

anthropic = pytest.importorskip("anthropic")
pytestmark = pytest.mark.asyncio(loop_scope="session")

Client = Any
"""Typed where the SDK is installed, which it need not be."""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(echo: Served) -> AsyncIterator[Client]:
    async with client_of(echo) as made:
        yield made


def client_of(served: Served, key: str = "unused") -> Client:
    return anthropic.AsyncAnthropic(base_url=served.server.url, api_key=key, max_retries=0, timeout=PATIENCE)


def find_unknown(value: object) -> list[str]:
    """Fields of a typed reply, at any depth, that its type does not have."""
    found: list[str] = []
    if isinstance(value, BaseModel):
        found += value.model_extra or {}
        for name in type(value).model_fields:
            found += find_unknown(getattr(value, name))
    elif isinstance(value, list):
        for each in value:
            found += find_unknown(each)
    return found


def check_type(kind: Any, value: object) -> None:
    """Fails for a value that the SDK would have to be lenient about."""
    assert find_unknown(TypeAdapter(kind).validate_python(value, strict=True)) == []


async def test_a_message_and_its_stream(client: Client) -> None:
    asked: dict[str, Any] = {"model": "echo", "max_tokens": 100, "messages": user('hé"llo')}
    message = await client.messages.create(**asked)
    assert message.content[0].text == 'hé"llo'
    async with client.messages.stream(**asked) as stream:
        texts = [text async for text in stream.text_stream]
        last = await stream.get_final_message()
    assert "".join(texts) == last.content[0].text == 'hé"llo'
    assert last.stop_reason == message.stop_reason == "end_turn"
    assert last.usage.output_tokens == message.usage.output_tokens
    assert message._request_id.startswith("req_")


async def test_the_beta_client_is_answered_alike(client: Client) -> None:
    message = await client.beta.messages.create(
        model="echo", max_tokens=100, messages=user("hello"), betas=["interleaved-thinking-2025-05-14"]
    )
    assert message.content[0].text == "hello"


async def test_a_reply_goes_back_as_it_came(client: Client) -> None:
    first = await client.messages.create(model="echo", max_tokens=100, messages=user("hello"))
    turns = [*user("hello"), first.to_param(), *user("again")]
    assert (await client.messages.create(model="echo", max_tokens=100, messages=turns)).content[0].text == "again"
    whole = [*user("hello"), first.model_dump(), *user("more")]
    assert (await client.messages.create(model="echo", max_tokens=100, messages=whole)).content[0].text == "more"


async def test_an_answer_in_a_form_is_parsed(client: Client) -> None:
    class City(BaseModel):
        name: str

    parsed = await client.messages.parse(
        model="echo", max_tokens=100, messages=user('{"name": "Rome"}'), output_format=City
    )
    assert parsed.parsed_output == City(name="Rome")


async def test_tokens_are_counted_and_models_listed(client: Client) -> None:
    counted = await client.messages.count_tokens(model="echo", messages=user("hello"), tools=[WEATHER])
    assert counted.input_tokens > 0
    assert "echo" in [model.id async for model in client.models.list(limit=1)]
    assert (await client.models.retrieve("echo")).max_input_tokens == 8192


async def test_errors_are_of_the_classes_that_programs_catch(client: Client, tmp_path_factory: Any) -> None:
    with pytest.raises(anthropic.NotFoundError, match="echo"):
        await client.messages.create(model="nothing", max_tokens=1, messages=user("x"))
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: "):
        await client.messages.create(model="echo", max_tokens=1, messages=user("x" * 9000))
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("nothing")
    settings = settings_of(ServerSettings(port=0, api_keys=("k",)))
    async with serving(tmp_path_factory.mktemp("keyed"), settings) as served:
        async with client_of(served, "wrong") as wrong:
            with pytest.raises(anthropic.AuthenticationError):
                await wrong.messages.create(model="echo", max_tokens=1, messages=user("x"))
        async with client_of(served, "k") as right:
            assert await right.messages.create(model="echo", max_tokens=1, messages=user("x"))


async def test_replies_and_events_are_of_the_published_types(echo: Served) -> None:
    types = anthropic.types
    check_type(types.Message, (await post_message(echo)).json())
    streamed = read_events((await post_message(echo, stream=True)).content)
    dialect = MessagesDialect("echo", lambda: "req_1")
    for event in (*streamed, *read_events(dialect.write(ANSWER))):
        check_type(types.RawMessageStreamEvent, event)
    check_type(
        types.shared.ErrorResponse,
        (await post_message(echo, max_tokens=-1)).json(),
    )
    counted = await echo.http.post("/v1/messages/count_tokens", json=message_body())
    check_type(types.MessageTokensCount, counted.json())


async def test_a_whole_message_of_thoughts_and_calls_is_of_the_published_type() -> None:
    reply = MessagesDialect("echo", lambda: "req_1").reply(ANSWER)
    message = anthropic.types.Message.model_validate_json(reply, strict=True)
    assert find_unknown(message) == []
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
