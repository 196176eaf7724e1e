"""POST /api/generate: prompts in all their forms, and the conversation that is handed back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from api.ollama.past import decode_past, encode_past
from api.ollama.translation import translate_generate
from core.requests import Generation, Message, Role, TextPart
from tests.api.conftest import Served, user
from tests.api.ollama.conftest import chat, generate, refused, stream_lines

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_prompt_is_answered_whole_or_line_by_line(echo: Served) -> None:
    reply = await generate(echo)
    assert (reply["response"], reply["done"], reply["done_reason"]) == ("hello", True, "stop")
    lines = await stream_lines(echo, "/api/generate", model="echo", prompt="hello")
    assert "".join(line["response"] for line in lines) == "hello"
    assert lines[0].keys() == {"model", "created_at", "response", "done"}
    assert lines[-1]["context"] == reply["context"]


async def test_thoughts_stand_apart(caller: Served) -> None:
    reply = await generate(caller, prompt="<think>\nhm\n</think>\n\nyes")
    assert (reply["thinking"].strip(), reply["response"].strip()) == ("hm", "yes")


async def test_a_raw_prompt_stands_as_it_is(echo: Served) -> None:
    raw = await generate(echo, raw=True)
    assert (raw["response"], raw["prompt_eval_count"]) == ("hello", len("hello"))
    assert "context" not in raw
    assert (await generate(echo))["prompt_eval_count"] > len("hello")


async def test_the_context_goes_on_with_the_conversation(echo: Served) -> None:
    first = await generate(echo, prompt="one", system="be brief")
    second = await generate(echo, prompt="two", context=first["context"])
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    assert second["prompt_eval_count"] == (await chat(echo, messages=messages))["prompt_eval_count"]
    changed = await generate(echo, prompt="two", context=first["context"], system="b")
    assert changed["prompt_eval_count"] == second["prompt_eval_count"] - len("be brief") + 1


async def test_a_context_is_read_off_the_event_loop(echo: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def translate(*given: Any, **named: Any) -> Generation:
        threads.append(threading.get_ident())
        return translate_generate(*given, **named)

    monkeypatch.setattr("api.ollama.answering.translate_generate", translate)
    first = await generate(echo, prompt="one")
    await generate(echo, prompt="two", context=first["context"])
    assert [each == threading.get_ident() for each in threads] == [True, False]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_long_context_is_packed_off_the_event_loop(
    echo: Served, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    threads: list[int] = []

    def pack(messages: Sequence[Message]) -> list[int]:
        threads.append(threading.get_ident())
        return encode_past(messages)

    monkeypatch.setattr("api.ollama.writer.encode_past", pack)
    said = [Message(role, (TextPart("a"),)) for _ in range(300) for role in (Role.USER, Role.ASSISTANT)]
    for context in (encode_past(said[:2]), encode_past(said)):
        fields = {"prompt": "b", "context": context, "options": {"num_predict": 1}, "stream": stream}
        if stream:
            line = (await stream_lines(echo, "/api/generate", model="echo", **fields))[-1]
        else:
            line = await generate(echo, **fields)
        assert [each.text for each in decode_past(line["context"])[-2:]] == ["b", "b"]
    assert [each == threading.get_ident() for each in threads] == [True, False]


async def test_a_prompt_that_is_too_long_is_refused_without_naming_a_field_of_other_routes(echo: Served) -> None:
    for path, fields in (("/api/generate", {"prompt": "a" * 9000}), ("/api/chat", {"messages": user("a" * 9000)})):
        assert (await refused(echo, path, model="echo", **fields)).startswith("The prompt has 90")


async def test_a_context_of_another_server_is_refused(echo: Served) -> None:
    assert "context" in await refused(echo, "/api/generate", model="echo", prompt="a", context=[1, 2, 3])
    mine = (await generate(echo))["context"]
    broken = [*mine[:-1], mine[-1] ^ 1]
    assert "context" in await refused(echo, "/api/generate", model="echo", prompt="a", context=broken)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"raw": True, "system": "x"}, "system"),
        ({"raw": True, "context": [1]}, "context"),
        ({"suffix": "x", "system": "y"}, "system"),
        ({"suffix": "x"}, "not trained to fill gaps"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"images": ["aGk="]}, "no model here sees pictures"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(echo: Served, fields: dict[str, Any], said: str) -> None:
    assert said in await refused(echo, "/api/generate", model="echo", prompt="a", **fields)


async def test_empty_fields_ask_for_nothing(echo: Served) -> None:
    empty = {"system": "", "template": "", "images": [], "suffix": "", "context": [], "options": {}, "raw": False}
    assert (await generate(echo, **empty))["response"] == "hello"
