"""A conversation that has become too long is summed up, and gone on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from api.openai.responses.compaction import ASK, MOST_KEPT_CHARACTERS, SUMMARY, CompactionDialect
from api.openai.responses.items import build_messages, read_items
from api.sealing import open_text, seal_text
from core.errors import RequestError
from core.events import Event, Finished, FinishReason, TextDelta, Timings, Usage
from core.requests import Role
from tests.api.conftest import Served
from tests.api.openai.responses.conftest import ask, response_body
from tests.api.openai.responses.open_responses import check_open

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG: list[dict[str, object]] = [
    {"role": "user", "content": "find the fault"},
    {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "line 7"},
    {"role": "assistant", "content": "It is in line 7."},
    {"role": "user", "content": "mend it"},
]


async def compact(served: Served, **fields: object) -> Any:
    return await served.http.post("/v1/responses/compact", json=response_body(**fields))


async def test_what_the_user_said_stays_and_all_else_is_summed_up(echo: Served) -> None:
    told = (await compact(echo, input=LONG)).json()
    check_open("CompactResource", told)
    given: Any = LONG
    by_sdk = await echo.client.responses.compact(model="echo", input=given)
    assert (by_sdk.object, by_sdk.output[-1].type) == ("response.compaction", "compaction")
    assert (told["object"], [item["type"] for item in told["output"]]) == (
        "response.compaction",
        ["message", "message", "compaction"],
    )
    assert [item["content"][0]["text"] for item in told["output"][:2]] == ["find the fault", "mend it"]
    # The echo model says again what it was asked at last.
    assert open_text(told["output"][2]["encrypted_content"]) == f"{SUMMARY}mend it\n{ASK}"
    assert told["usage"]["output_tokens"] > 0


async def test_the_next_request_goes_on_from_it(echo: Served) -> None:
    output = (await compact(echo, input=LONG)).json()["output"]
    assert (await ask(echo, input=[*output, {"role": "user", "content": "and now?"}]))["status"] == "completed"


async def test_turns_alternate_behind_a_compaction() -> None:
    sealed = {"type": "compaction", "encrypted_content": seal_text("what was done")}
    said = [{"role": "user", "content": text} for text in ("one", "two")]
    items: Any = read_items([raw_of(each) for each in (*said, sealed, {"role": "user", "content": "three"})]).items
    messages = build_messages(items, "be brief")
    assert [message.role for message in messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    assert [message.text for message in messages[1:]] == ["one\ntwo", "what was done", "three"]


async def test_what_another_server_has_compacted_is_refused_in_words() -> None:
    items: Any = read_items([raw_of({"type": "compaction", "encrypted_content": "gAAAA"})]).items
    with pytest.raises(RequestError, match="was not made here") as caught:
        build_messages(items, None)
    assert caught.value.field == "input[0].encrypted_content"


async def test_of_what_the_user_said_the_newest_is_kept() -> None:
    words = "w" * (MOST_KEPT_CHARACTERS // 3)
    items: Any = read_items([raw_of({"role": "user", "content": f"{at}{words}"}) for at in range(3)]).items
    ends: list[Event] = [TextDelta(0, "all of it"), Finished(0, FinishReason.STOP, Usage(), Timings())]
    output = json.loads(CompactionDialect(items).reply(ends))["output"]
    assert [item["content"][0]["text"][0] for item in output[:-1]] == ["1", "2"]


async def test_it_goes_on_from_a_response_that_is_stored(echo: Served) -> None:
    first = await ask(echo, input="one")
    told = (await compact(echo, input=None, previous_response_id=first["id"])).json()
    assert [item["type"] for item in told["output"]] == ["message", "compaction"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input": None}, "input"),
        ({"stream": True}, "stream"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"input": "x" * 9000}, "input"),
        ({"temperature": "warm"}, "temperature"),
    ],
)
async def test_what_cannot_be_compacted_is_refused_by_field(
    echo: Served, fields: dict[str, object], named: str
) -> None:
    told = await compact(echo, **fields)
    assert (told.status_code, told.json()["error"]["param"]) == (400, named)


def raw_of(item: Mapping[str, object]) -> Any:
    return msgspec.Raw(msgspec.json.encode(item))
