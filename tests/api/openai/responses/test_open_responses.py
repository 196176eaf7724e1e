"""Requests and replies against the description of Open Responses, where there is a file with it."""

from __future__ import annotations

import jsonschema
import pytest

from api.openai.responses.wire import ResponseRequest
from tests.api.conftest import Served
from tests.api.openai.responses.conftest import ask
from tests.api.openai.responses.open_responses import check_open, read_schemas

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(read_schemas() is None, reason="BENCHTOP_TEST_SCHEMAS names no description of Open Responses"),
]


async def test_a_response_is_held_against_all_that_is_described(echo: Served) -> None:
    told = await ask(echo, metadata={"a": "b"}, text={"format": {"type": "json_object"}}, reasoning={"effort": "low"})
    for field, wrong in (("status", 5), ("usage", {}), ("text", {"format": {"type": "sound"}}), ("output", [{}])):
        with pytest.raises((jsonschema.ValidationError, KeyError)):
            check_open("ResponseResource", told | {field: wrong})


@pytest.mark.parametrize("name", ["CreateResponseBody", "CompactResponseMethodPublicBody"])
async def test_each_field_of_a_request_is_known(name: str) -> None:
    schemas = read_schemas()
    assert schemas is not None
    known = {*ResponseRequest.__struct_fields__, *ResponseRequest.rules}
    assert schemas[name]["properties"].keys() <= known


async def test_each_kind_of_item_that_is_described_can_be_sent(echo: Served) -> None:
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "ok"}]}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": None}
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    developer = {"type": "message", "role": "developer", "content": "be brief", "id": None, "status": None}
    told = await ask(echo, input=[developer, said, refused, said, thought, call, result], include=[])
    assert told["status"] == "completed"
