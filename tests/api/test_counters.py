"""What agents tell anew with each request keeps no prompt from being reused, in any dialect, and the board says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.settings.prompts import PromptSettings
from core.settings.schema import ServerSettings, Settings
from tests.api.conftest import Served, serving, user

RULES = "You are an agent, and these are your rules. " * 8
NOTE = "Left out of the prompt, since it differs with each request: a billing header."


def header(number: int) -> str:
    return f"x-anthropic-billing-header: cc_version=2.1.{number}; cc_entrypoint=cli; cch={number:05x};"


def ask_messages(number: int) -> tuple[str, Mapping[str, object]]:
    system = [{"type": "text", "text": header(number)}, {"type": "text", "text": RULES}]
    return "/v1/messages", {"model": "echo", "max_tokens": 8, "system": system, "messages": user("hello")}


def ask_chat(number: int) -> tuple[str, Mapping[str, object]]:
    messages = [{"role": "system", "content": f"{header(number)}\n{RULES}"}, *user("hello")]
    return "/v1/chat/completions", {"model": "echo", "messages": messages}


def ask_responses(number: int) -> tuple[str, Mapping[str, object]]:
    return "/v1/responses", {"model": "echo", "instructions": f"{header(number)}\n{RULES}", "input": "hello"}


async def ask_twice(served: Served, ask: object) -> tuple[int, tuple[str, ...]]:
    """Tokens of the second prompt that were cached, and what the board says of it."""
    assert callable(ask)
    name = "unknown"
    for number in (1, 2):
        path, body = ask(number)
        answer = await served.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        name = answer.headers["x-request-id"]
    row = (await served.http.get(f"/v1/requests/{name}")).json()
    return row["cached_tokens"], tuple(row["notes"])


@pytest.mark.parametrize("ask", [ask_messages, ask_chat, ask_responses])
async def test_a_header_that_differs_parts_no_prompt_from_the_one_before(tmp_path: Path, ask: object) -> None:
    async with serving(tmp_path) as served:
        cached, notes = await ask_twice(served, ask)
    assert cached > len(RULES)
    assert NOTE in notes


async def test_the_setting_leaves_prompts_as_they_are(tmp_path: Path) -> None:
    settings = replace(Settings(server=ServerSettings(port=0)), prompts=PromptSettings(drop_counters=False))
    async with serving(tmp_path, settings) as served:
        cached, notes = await ask_twice(served, ask_messages)
    assert cached < len(header(1))
    assert notes == ()


async def test_tokens_are_counted_as_they_are_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        path, body = ask_messages(1)
        asked = {name: value for name, value in body.items() if name != "max_tokens"}
        counted = (await served.http.post(f"{path}/count_tokens", json=asked)).json()["input_tokens"]
        usage = (await served.http.post(path, json=body)).json()["usage"]
    assert counted == usage["input_tokens"] + usage["cache_read_input_tokens"]
